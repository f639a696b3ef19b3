//! From raw logs to profiles: ingest, scrub, clean, cap; and the simulated world.
