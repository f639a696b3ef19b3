-- The texts that the cleaner was least sure of, nearest to the threshold first.
--
-- Reads: kept, dropped (clean_events and clean_events.dropped). Parameters: $threshold, $texts.
WITH
scored AS (
    SELECT text, domain, keep_score, true AS kept FROM kept
    UNION ALL
    SELECT text, domain, keep_score, false AS kept FROM dropped
),
texts AS (
    SELECT text, domain, keep_score, kept, count(*) AS events
    FROM scored
    WHERE keep_score IS NOT NULL
    GROUP BY text, domain, keep_score, kept
),
ranked AS (
    SELECT *, row_number() OVER (ORDER BY abs(keep_score - $threshold), text, domain, keep_score, kept) AS rank FROM texts
)
SELECT rank, text, domain, keep_score, kept, events
FROM ranked
WHERE rank <= $texts
ORDER BY rank
