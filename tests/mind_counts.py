"""Counts of a MIND folder, independent of querent: users, users with history, events, truth, live articles, articles."""
import json
import sys

users, histories, truth, shown = set(), {}, set(), set()
for line in open(f"{sys.argv[1]}/behaviors.tsv", encoding="utf-8"):
    _, user, _, history, impressions = line.rstrip("\n").split("\t")
    users.add(user)
    histories[user] = history.split()
    for article, clicked in (item.rsplit("-", 1) for item in impressions.split()):
        shown.add(article)
        if clicked == "1":
            truth.add((user, article))
articles = sum(1 for _ in open(f"{sys.argv[1]}/news.tsv", encoding="utf-8"))
events = sum(map(len, histories.values()))
readers = sum(1 for history in histories.values() if history)
print(json.dumps([len(users), readers, events, len(truth), len(shown), articles]))
