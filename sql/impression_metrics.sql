-- Averages over impressions of each metric, by method and slice of users, with 95% intervals.
--
-- Reads: user_impressions. Slices: all; test (held-out users); cold (fewer than 5 news clicks of history); warm (the others).
-- A mean over impressions is a ratio of sums over users, m = Σ s / Σ n. Users are what is drawn, so its variance is by the delta method
-- U / (U - 1) Σ (s - m n)² / (Σ n)² over the U users of the slice.
WITH
slices AS (
    SELECT 1 AS position, 'all' AS slice, * FROM user_impressions
    UNION ALL
    SELECT 2, 'test', * FROM user_impressions WHERE split = 'test'
    UNION ALL
    SELECT 3, 'cold', * FROM user_impressions WHERE cold
    UNION ALL
    SELECT 4, 'warm', * FROM user_impressions WHERE NOT cold
),
sums AS (
    SELECT method, position, slice, 'auc' AS metric, NULL AS k, user_id, impressions AS n, auc AS s FROM slices
    UNION ALL
    SELECT method, position, slice, 'mrr', NULL, user_id, impressions, mrr FROM slices
    UNION ALL
    SELECT method, position, slice, 'ndcg', 5, user_id, impressions, ndcg_5 FROM slices
    UNION ALL
    SELECT method, position, slice, 'ndcg', 10, user_id, impressions, ndcg_10 FROM slices
),
moments AS (
    SELECT
        method, position, slice, metric, k,
        count(*) AS users, sum(n) AS impressions, sum(s) / sum(n) AS value,
        sum(s * s) AS ss, sum(s * n) AS sn, CAST(sum(n * n) AS DOUBLE) AS nn
    FROM (SELECT * FROM sums ORDER BY method, user_id)
    GROUP BY method, position, slice, metric, k
),
intervals AS (
    SELECT
        *,
        CASE WHEN users > 1
            THEN 1.959963984540054 * sqrt(greatest(ss - 2 * value * sn + value * value * nn, 0) * users / (users - 1)) / impressions
        END AS half
    FROM moments
)
SELECT method, slice, metric, k, value, value - half AS ci_low, value + half AS ci_high, impressions, users
FROM intervals
ORDER BY method, position, metric, k NULLS LAST
