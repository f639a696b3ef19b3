-- Averages over impressions of each metric, by method and slice of users, with 95% intervals.
--
-- Reads: user_impressions. Slices: all; test (held-out users); cold (fewer than 5 news clicks of history); warm (the others).
-- A mean over impressions is a ratio of sums over users, m = Σ s / Σ n. Users are what is drawn, so its variance is by the delta method
-- U / (U - 1) Σ (s - m n)² / (Σ n)² over the U users of the slice.
WITH
slices AS (
    SELECT *, unnest(make_array(
        struct(1, 'all', true),
        struct(2, 'test', split = 'test'),
        struct(3, 'cold', cold),
        struct(4, 'warm', NOT cold)
    )) AS slice
    FROM user_impressions
),
lines AS (
    SELECT method, user_id, impressions, slice, unnest(make_array(
        struct('auc', NULL, auc),
        struct('mrr', NULL, mrr),
        struct('ndcg', 5, ndcg_5),
        struct('ndcg', 10, ndcg_10)
    )) AS line
    FROM slices
    WHERE slice['c2']
),
sums AS (
    SELECT
        method, slice['c0'] AS position, slice['c1'] AS slice, line['c0'] AS metric, line['c1'] AS k,
        user_id, impressions AS n, line['c2'] AS s
    FROM lines
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
