-- How well each method ranks what each impression showed, summed over every user's impressions.
--
-- Reads (one user bucket at a time): impressions; scores (method, user_id, news_id, score); methods (method). Impressions of which nothing
-- or everything was clicked say nothing of an order, and are left out. What a method gave no score comes after what it scored.
-- Definitions are MIND's scorer's, over the articles that an impression showed, P of which were clicked and N not:
--   auc  = pairs of a clicked and another article of which the clicked one has the higher score, equal ones counting half, / (P N)
--   mrr  = the mean over clicked articles of 1 / place
--   ndcg = Σ 1 / log2(place + 1) over clicked articles among the first k / the same for an ideal order
-- Places go by score, highest first, and of equal scores the later position first: so a stable sort read backwards has them.
WITH
counted AS (
    SELECT
        user_id, impression_id, position, news_id, clicked,
        count(*) OVER (PARTITION BY impression_id) AS shown,
        sum(CASE WHEN clicked THEN 1 ELSE 0 END) OVER (PARTITION BY impression_id) AS relevant,
        row_number() OVER (PARTITION BY impression_id ORDER BY clicked DESC, position) AS ideal
    FROM impressions
),
kept AS (
    SELECT * FROM counted WHERE relevant > 0 AND relevant < shown
),
scored AS (
    SELECT
        methods.method, kept.user_id, kept.impression_id, kept.position, kept.clicked, kept.shown, kept.relevant, kept.ideal,
        CASE WHEN scores.score IS NULL THEN 0 ELSE 1 END AS is_scored,
        coalesce(CAST(scores.score AS DOUBLE), CAST('-Infinity' AS DOUBLE)) AS score
    FROM methods CROSS JOIN kept
    LEFT JOIN scores
        ON scores.method = methods.method AND scores.user_id = kept.user_id AND scores.news_id = kept.news_id
),
placed AS (
    SELECT
        method, user_id, impression_id, clicked, shown, relevant, ideal, is_scored,
        row_number() OVER (PARTITION BY method, impression_id ORDER BY score DESC, position DESC) AS place,
        rank() OVER (PARTITION BY method, impression_id ORDER BY score) AS lowest,
        count(*) OVER (PARTITION BY method, impression_id, score) AS equal
    FROM scored
),
judged AS (
    SELECT
        method, user_id, impression_id,
        CASE WHEN sum(is_scored) = shown THEN 1 ELSE 0 END AS scored,
        -- Mann and Whitney's: clicked articles' ranks from the lowest score, less the least that they can be.
        (sum(CASE WHEN clicked THEN lowest + (equal - 1) / 2.0 ELSE 0 END) - relevant * (relevant + 1) / 2.0)
            / (relevant * (shown - relevant)) AS auc,
        sum(CASE WHEN clicked THEN 1.0 / place ELSE 0 END) / relevant AS mrr,
        sum(CASE WHEN clicked AND place <= 5 THEN 1.0 / log2(place + 1) ELSE 0 END)
            / sum(CASE WHEN clicked AND ideal <= 5 THEN 1.0 / log2(ideal + 1) ELSE 0 END) AS ndcg_5,
        sum(CASE WHEN clicked AND place <= 10 THEN 1.0 / log2(place + 1) ELSE 0 END)
            / sum(CASE WHEN clicked AND ideal <= 10 THEN 1.0 / log2(ideal + 1) ELSE 0 END) AS ndcg_10
    FROM placed
    GROUP BY method, user_id, impression_id, shown, relevant
)
SELECT
    method, user_id, count(*) AS impressions, sum(scored) AS scored,
    sum(auc) AS auc, sum(mrr) AS mrr, sum(ndcg_5) AS ndcg_5, sum(ndcg_10) AS ndcg_10
FROM judged
GROUP BY method, user_id
ORDER BY method, user_id
