-- Averages over users of each metric, by method and slice of users.
--
-- Reads: user_metrics. Slices: all; test (held-out users); cold (fewer than 5 news clicks of history); warm (the others).
-- Gives mean, number of users and sum of squares; rr averaged is called mrr.
WITH
slices AS (
    SELECT
        method, metric, k,
        count(*) AS users, coalesce(sum(value), 0) AS total, coalesce(sum(value * value), 0) AS squares,
        sum(CASE WHEN split = 'test' THEN 1 ELSE 0 END) AS test_users,
        sum(CASE WHEN split = 'test' THEN value ELSE 0 END) AS test_total,
        sum(CASE WHEN split = 'test' THEN value * value ELSE 0 END) AS test_squares,
        sum(CASE WHEN cold THEN 1 ELSE 0 END) AS cold_users,
        sum(CASE WHEN cold THEN value ELSE 0 END) AS cold_total,
        sum(CASE WHEN cold THEN value * value ELSE 0 END) AS cold_squares
    FROM user_metrics
    GROUP BY method, metric, k
),
sums AS (
    SELECT method, metric, k, 1 AS position, 'all' AS slice, users, total, squares FROM slices
    UNION ALL
    SELECT method, metric, k, 2, 'test', test_users, test_total, test_squares FROM slices
    UNION ALL
    SELECT method, metric, k, 3, 'cold', cold_users, cold_total, cold_squares FROM slices
    UNION ALL
    SELECT method, metric, k, 4, 'warm', users - cold_users, total - cold_total, squares - cold_squares FROM slices
)
SELECT
    method, slice, metric, k,
    total / users AS mean, users, squares
FROM sums
WHERE users > 0
ORDER BY method, position, metric, k NULLS LAST
