-- What each method's lists are like, beside being right.
--
-- Reads: lists (method, user_id, news_id: the first k articles of each list); diversities (method, user_id, diversity: the mean cosine distance
-- of two articles of the list; null where it has one); methods (method, candidates: articles that it chose from); news; popularity. It reads
-- lists twice, by user and by article, news twice and popularity twice: once to count.
-- Gives a row per method and metric. All but coverage are means over users, of means over their lists:
--   coverage  = distinct articles in all lists / candidates
--   diversity = the mean distance of a list's articles
--   novelty   = -log2 of an article's share of the clicks before the cut-off, each article of news counting as clicked once more
--   unread    = share of articles that nobody clicked before the cut-off
-- Averages are of decimals, which are the same in whatever order the users come.
WITH
clicked AS (
    SELECT coalesce(sum(clicks), 0) AS clicks FROM popularity
),
known AS (
    SELECT count(*) AS articles FROM news
),
articles AS (
    SELECT
        news.news_id,
        -log2((coalesce(popularity.clicks, 0) + 1.0) / (clicked.clicks + known.articles)) AS novelty,
        CASE WHEN popularity.clicks IS NULL THEN 1.0 ELSE 0.0 END AS unread
    FROM news LEFT JOIN popularity ON news.news_id = popularity.news_id
    CROSS JOIN clicked CROSS JOIN known
),
users AS (
    SELECT lists.method, lists.user_id, avg(CAST(articles.novelty AS DECIMAL(38, 18))) AS novelty, avg(CAST(articles.unread AS DECIMAL(38, 18))) AS unread
    FROM lists LEFT JOIN articles ON lists.news_id = articles.news_id
    GROUP BY lists.method, lists.user_id
),
averages AS (
    SELECT
        users.method, count(*) AS users,
        CAST(avg(users.novelty) AS DOUBLE) AS novelty, CAST(avg(users.unread) AS DOUBLE) AS unread,
        CAST(avg(CAST(diversities.diversity AS DECIMAL(38, 18))) AS DOUBLE) AS diversity
    FROM users JOIN diversities ON users.method = diversities.method AND users.user_id = diversities.user_id
    GROUP BY users.method
),
covered AS (
    SELECT lists.method, count(DISTINCT lists.news_id) / CAST(min(methods.candidates) AS DOUBLE) AS coverage
    FROM lists JOIN methods ON lists.method = methods.method
    GROUP BY lists.method
),
lines AS (
    SELECT averages.method, averages.users, unnest(make_array(
        struct('coverage', covered.coverage),
        struct('diversity', averages.diversity),
        struct('novelty', averages.novelty),
        struct('unread', averages.unread)
    )) AS line
    FROM averages JOIN covered ON averages.method = covered.method
)
SELECT method, line['c0'] AS metric, CAST($k AS INT) AS k, line['c1'] AS value, users
FROM lines
ORDER BY method, metric
