-- The texts that the cleaner was least sure of, nearest to the threshold first.
--
-- Reads: text_scores twice; kept, dropped (clean_events and clean_events.dropped). Parameters: $threshold, $texts.
--
-- Scores alone say how near a text must be. So only texts that are as near are compared, and not all of them are held.
WITH
nearest AS (
    SELECT max(distance) AS distance
    FROM (SELECT abs(keep_score - $threshold) AS distance FROM text_scores ORDER BY distance LIMIT $texts)
),
scored AS (
    SELECT text, domain, keep_score, true AS kept FROM kept
    UNION ALL
    SELECT text, domain, keep_score, false AS kept FROM dropped
),
texts AS (
    SELECT text, domain, keep_score, kept, count(*) AS events
    FROM scored
    WHERE abs(keep_score - $threshold) <= (SELECT distance FROM nearest)
    GROUP BY text, domain, keep_score, kept
),
ranked AS (
    SELECT *, row_number() OVER (ORDER BY abs(keep_score - $threshold), text, domain, keep_score, kept) AS rank FROM texts
)
SELECT rank, text, domain, keep_score, kept, events
FROM ranked
WHERE rank <= $texts
ORDER BY rank
