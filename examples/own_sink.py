"""A sink of your own: the faces of a folder go into an SQLite database.

python examples/own_sink.py photos/ faces.db
"""

import sqlite3
import sys

import mien


class Database:
    def __init__(self, path):
        self.table = sqlite3.connect(path)
        self.table.execute("CREATE TABLE IF NOT EXISTS faces (name TEXT, emotion TEXT, confidence REAL)")

    def write(self, result):
        rows = [(result.name, face.emotion, face.confidence) for face in result]
        with self.table:
            self.table.executemany("INSERT INTO faces VALUES (?, ?, ?)", rows)

    def fail(self, failure):
        print("left out:", failure.reason)

    def close(self):
        self.table.close()


print(mien.predict(sys.argv[1], [Database(sys.argv[2])]))
