"""Tests of the tables against quotas that the emulator does not have."""

from __future__ import annotations

import unittest

from resolved import Resolved

# The most attributes that a secondary index may project besides the keys:
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Projection.html
MOST_PROJECTED = 20


class Indexes(unittest.TestCase):
    """The secondary indexes of all tables."""

    def test_each_projects_as_many_attributes_as_it_may(self) -> None:
        tables = Resolved().resources("AWS::DynamoDB::Table")
        indexes = {
            f"{name}: {index['IndexName']}": index["Projection"].get("NonKeyAttributes", [])
            for name, properties in tables.items()
            for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
            for index in properties.get(kind, [])
        }
        self.assertIn("DeliveriesTable: lanes", indexes)
        for index, projected in indexes.items():
            self.assertLessEqual(len(projected), MOST_PROJECTED, index)
