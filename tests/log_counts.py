"""Invented logs in the layouts of docs/logs.md, written by DuckDB, and what DuckDB counts in them.

usage: log_counts.py FOLDER        writes FOLDER/logs/…, and prints {heading: [behaviours, truth, users, articles]} as JSON

Behaviours and truth are what `ingest` keeps of them: distinct ones of before the cut-off, distinct pairs of user and article of the week after
it. Every log has rows that come twice, lack what their layout may lack, or lie behind the week.
"""

import gzip
import json
import os
import sys

import duckdb

sql = duckdb.connect().execute
os.chdir(sys.argv[1])
for folder in ["ebnerd", "adressa", "exports", "queries", "access", "hn"]:
    os.makedirs(f"logs/{folder}")


def one(query):
    return sql(query).fetchone()[0]


def random(salt, below):
    """A number that depends on the row and the purpose alone."""
    return f"(hash(i * 1000003 + {salt}) % {below})::BIGINT"


def when(salt, start, days):
    """Some second of an hour from 6 to 21, within so many days of a start: no zone moves it to another day."""
    return f"(TIMESTAMP '{start}' + to_days({random(salt, days)}::INT) + to_seconds({random(salt + 1, 54000)} + 21600))"


def rows(count, columns):
    """A table of distinct rows and, of every ninth, the same once more."""
    names = ", ".join(f"{what} AS {name}" for name, what in columns.items())
    return f"(SELECT * EXCLUDE again FROM (SELECT {names}, unnest(CASE WHEN i % 9 = 0 THEN [1, 2] ELSE [1] END) AS again FROM range({count}) t(i)))"


def kept(table, what, user, history, window=None, article=None, articles=0):
    """Distinct behaviours of the history, distinct pairs of user and article of the window, users with a history, and articles."""
    return [
        one(f"SELECT count(*) FROM (SELECT DISTINCT {what} FROM {table} WHERE {history})"),
        one(f"SELECT count(*) FROM (SELECT DISTINCT {user}, {article} FROM {table} WHERE {window})") if window else 0,
        one(f"SELECT count(DISTINCT {user}) FROM {table} WHERE {history}"),
        articles,
    ]


counts = {}

# EB-NeRD: lists in a row, times by the wall clock.
sql("CREATE TABLE articles AS SELECT 1000 + i AS article_id, 'Title ' || i AS title, NULL::VARCHAR AS subtitle, TIMESTAMP '2023-05-01 10:00:00' AS published_time, 'sport' AS category_str, ['A' || i] AS ner_clusters FROM range(300) t(i)")
sql(f"CREATE TABLE read AS SELECT {random(1, 2000)} AS user_id, {when(3, '2023-05-10', 14)} AS moment, 1000 + {random(5, 300)} AS article FROM range(12000) t(i)")
sql("CREATE TABLE history AS SELECT user_id, list(moment) AS impression_time_fixed, list(article) AS article_id_fixed FROM read GROUP BY user_id")
sql(f"CREATE TABLE seen AS SELECT i // 8 AS impression_id, 1000 + {random(11, 300)} AS article, {random(12, 5)} = 0 AS clicked FROM range(40000) t(i)")
sql(f"CREATE TABLE impressions AS SELECT i AS impression_id, {random(6, 2500)} AS user_id, {when(7, '2023-05-21', 14)} AS impression_time FROM range(5000) t(i)")
sql("CREATE TABLE clicks AS SELECT impression_id, user_id, impression_time, coalesce(list(article) FILTER (clicked), []) AS article_ids_clicked, list(article) AS article_ids_inview FROM impressions JOIN seen USING (impression_id) GROUP BY ALL")
for table, file in [("articles", "articles"), ("history", "history"), ("clicks", "behaviors")]:
    sql(f"COPY {table} TO 'logs/ebnerd/{file}.parquet'")
sql("CREATE TABLE done AS SELECT user_id, moment, article FROM read UNION ALL SELECT user_id, impression_time, article FROM impressions JOIN seen USING (impression_id) WHERE clicked")
cut = "TIMESTAMP '2023-05-25'"
counts["EB-NeRD"] = kept(
    "done", "*", "user_id", f"moment < {cut}", f"moment >= {cut} AND moment < {cut} + INTERVAL 7 DAY", "article", one("SELECT count(*) FROM articles")
)

# Adressa: front pages have neither id nor title.
sql("CREATE TABLE visits AS SELECT * FROM " + rows(8000, {
    "userId": "'cx:' || " + random(21, 900),
    "time": f"epoch({when(22, '2016-12-30', 20)})::BIGINT",
    "id": f"CASE WHEN {random(24, 5)} > 0 THEN 'a' || {random(25, 400)} END",
    "title": f"CASE WHEN {random(24, 5)} > 0 THEN 'Sak ' || {random(25, 400)} END",
    "publishtime": "'2016-12-20T10:00:00.000Z'",
    "category1": "'nyheter'",
}))
sql("COPY visits TO 'logs/adressa/20170103' (FORMAT json)")
cut = "epoch(TIMESTAMP '2017-01-05')"
there = "id IS NOT NULL"
counts["Adressa"] = kept(
    "visits", "userId, time, id", "userId", f"{there} AND time < {cut}",
    f"{there} AND time >= {cut} AND time < {cut} + 7 * 86400", "id", one("SELECT count(DISTINCT id) FROM visits"),
)

# Exports: the folder says whose they are. Search and visits have no truth.
sql("CREATE TABLE searches AS SELECT * FROM " + rows(4000, {
    "person": random(31, 40),
    "query": "'ferry ' || " + random(32, 50),
    "time": f"strftime({when(33, '2025-11-20', 20)}, '%Y-%m-%dT%H:%M:%S.000Z')",
}))
sql("CREATE TABLE pages AS SELECT * FROM " + rows(4000, {
    "person": random(41, 40),
    "url": "'https://x.example/' || i",
    "title": f"CASE WHEN {random(42, 4)} > 0 THEN 'Sheds, and \"more\" ' || {random(43, 50)} END",
    "last_visit_time": f"(epoch_us({when(44, '2025-11-20', 20)}) + 11644473600000000)::BIGINT",
}))
for person in range(40):
    os.makedirs(f"logs/exports/user=p{person}")
    sql(f"COPY (SELECT query, time FROM searches WHERE person = {person}) TO 'logs/exports/user=p{person}/searches.json' (FORMAT json, ARRAY true)")
    sql(f"COPY (SELECT url, title, last_visit_time FROM pages WHERE person = {person}) TO 'logs/exports/user=p{person}/history.csv' (HEADER)")
before = "time < '2025-12-01'"
micros = "last_visit_time < epoch_us(TIMESTAMP '2025-12-01') + 11644473600000000 AND title IS NOT NULL"
counts["Search and browser history"] = [
    one(f"SELECT count(*) FROM (SELECT DISTINCT * FROM searches WHERE {before})")
    + one(f"SELECT count(*) FROM (SELECT DISTINCT person, title, last_visit_time FROM pages WHERE {micros})"),
    0,
    one(f"SELECT count(*) FROM (SELECT person FROM searches WHERE {before} UNION SELECT person FROM pages WHERE {micros})"),
    0,
]

# A query log: quotes are text, a dash is nothing.
sql("CREATE TABLE asked AS SELECT * FROM " + rows(6000, {
    "AnonID": random(51, 700),
    "Query": f"CASE {random(52, 6)} WHEN 0 THEN '-' WHEN 1 THEN '\"sheds\" ' || {random(53, 60)} ELSE 'ferry ' || {random(53, 60)} END",
    "QueryTime": f"strftime({when(54, '2006-04-15', 30)}, '%Y-%m-%d %H:%M:%S')",
    "ItemRank": "''",
    "ClickURL": "''",
}))
lines = sql("SELECT AnonID, Query, QueryTime, ItemRank, ClickURL FROM asked").fetchall()
with gzip.open("logs/queries/user-ct-01.txt.gz", "wt") as file:
    file.write("AnonID\tQuery\tQueryTime\tItemRank\tClickURL\n")
    file.writelines("\t".join(map(str, line)) + "\n" for line in lines)
asked = "Query <> '-' AND QueryTime < '2006-05-01'"
counts["A query log like AOL's"] = kept("asked", "*", "AnonID", asked)

# A web server's log: of users who are known, answered searches only.
sql("CREATE TABLE requests AS SELECT * FROM " + rows(6000, {
    "who": f"CASE WHEN {random(61, 5)} > 0 THEN 'u' || {random(62, 300)} ELSE '-' END",
    "moment": when(63, "2025-11-20", 20),
    "request": f"CASE WHEN {random(65, 3)} > 0 THEN 'GET /search?lang=en&q=ferry+' || {random(66, 50)} || ' HTTP/1.1' ELSE 'GET / HTTP/1.1' END",
    "status": f"CASE WHEN {random(67, 10)} > 0 THEN 200 ELSE 500 END",
}))
lines = sql("SELECT who, strftime(moment, '%d/%b/%Y:%H:%M:%S'), request, status FROM requests").fetchall()
with open("logs/access/a.log", "w") as file:
    file.writelines(f'192.0.2.1 - {who} [{at} +0000] "{request}" {status} 512\n' for who, at, request, status in lines)
answered = "who <> '-' AND request LIKE 'GET /search%' AND status = 200 AND moment < TIMESTAMP '2025-12-01'"
counts["A web server's log"] = kept("requests", "*", "who", answered)

# Hacker News: comments, and stories that were deleted.
sql("CREATE TABLE items AS SELECT " + ", ".join([
    "i AS id",
    f"CASE WHEN {random(71, 3)} = 0 THEN 'comment' ELSE 'story' END AS type",
    f"CASE WHEN {random(72, 8)} > 0 THEN 'by' || {random(73, 500)} END AS \"by\"",
    f"epoch({when(74, '2025-11-20', 20)})::BIGINT AS time",
    f"CASE WHEN {random(72, 8)} > 0 THEN 'A story ' || i END AS title",
]) + " FROM range(5000) t(i)")
sql("COPY items TO 'logs/hn/items-1.jsonl' (FORMAT json)")
cut = "epoch(TIMESTAMP '2025-12-01')"
story = "type = 'story' AND title IS NOT NULL"
counts["Hacker News"] = kept(
    "items", "*", '"by"', f"{story} AND time < {cut}", f"{story} AND time >= {cut} AND time < {cut} + 7 * 86400", "id",
    one(f"SELECT count(*) FROM items WHERE {story}"),
)

print(json.dumps(counts))
