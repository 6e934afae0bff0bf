"""The check that plain `cargo test` skips what needs a stack."""

from __future__ import annotations

import unittest

from lint import unconditional

IGNORED = """
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn ignored() {}

#[rstest]
#[case::a(1)]
#[case::b(
    2,
    3
)]
#[tokio::test]
#[ignore = "needs the stack of `make test`"]
async fn ignored_cases(#[case] n: u8) {}
"""
FOUND = """
#[test]
fn found() {}

#[rstest]
#[case::a(1)]
#[tokio::test]
async fn found_cases(#[case] n: u8) {}
"""


class Ignored(unittest.TestCase):
    def test_each_test_without_the_attribute_is_found(self) -> None:
        self.assertEqual(unconditional(IGNORED), [])
        self.assertEqual(unconditional(IGNORED + FOUND), ["found", "found_cases"])
