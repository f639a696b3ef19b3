-- How good each user's list is, by method and cut, against what the user clicked in the window.
--
-- Reads (one user bucket at a time): truth twice; recommendations; methods (method); cuts twice (k, depth: k, or more than any list has
-- where k is null: not cut); places (place: 1 to the largest k). An article is in a user's list and truth at most once.
-- Gives a row per method, user with truth and cut. Definitions are trec_eval's:
--   recall = relevant articles in the list / relevant articles
--   ndcg   = Σ 1 / log2(rank + 1) over relevant articles / the same for an ideal list, which is cut too
--   rr     = 1 / rank of the first relevant article, 0 without one
-- and, on request, recall_capped (by what a list of k can reach) and rr_mind (MIND's scorer: the mean of 1 / rank).
WITH
readers AS (
    SELECT user_id, count(*) AS relevant FROM truth GROUP BY user_id
),
hits AS (
    SELECT recommendations.method, recommendations.user_id, recommendations.rank
    FROM recommendations JOIN truth
        ON recommendations.user_id = truth.user_id AND recommendations.news_id = truth.news_id
),
cut_hits AS (
    SELECT
        hits.method, hits.user_id, cuts.depth,
        count(*) AS hits, min(hits.rank) AS first,
        sum(1.0 / log2(hits.rank + 1)) AS gain, sum(1.0 / hits.rank) AS reciprocals
    FROM hits JOIN cuts ON hits.rank <= cuts.depth
    GROUP BY hits.method, hits.user_id, cuts.depth
),
ideals AS (
    SELECT place, sum(1.0 / log2(place + 1)) OVER (ORDER BY place) AS gain
    FROM places
)
SELECT
    methods.method, readers.user_id, cuts.k,
    coalesce(cut_hits.hits, 0) / CAST(readers.relevant AS DOUBLE) AS recall,
    coalesce(cut_hits.hits, 0) / CAST(least(cuts.depth, readers.relevant) AS DOUBLE) AS recall_capped,
    coalesce(cut_hits.gain / ideals.gain, 0) AS ndcg,
    coalesce(1.0 / cut_hits.first, 0) AS rr,
    coalesce(cut_hits.reciprocals / readers.relevant, 0) AS rr_mind
FROM methods CROSS JOIN readers CROSS JOIN cuts
LEFT JOIN cut_hits
    ON cut_hits.method = methods.method AND cut_hits.user_id = readers.user_id AND cut_hits.depth = cuts.depth
LEFT JOIN ideals ON ideals.place = least(cuts.depth, readers.relevant)
ORDER BY methods.method, readers.user_id, cuts.depth
