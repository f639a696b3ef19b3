//! What holds of the statistics: they are other tools' to the digit, they obey their symmetries, and they are wrong as often as they say.

mod calibration;
mod goldens;
mod reading;
mod symmetries;
