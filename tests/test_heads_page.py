"""The page on the heads of our models says what the records say."""

from heads_page import RESULTS, TABLES, filled


def test_the_tables_of_the_page_are_those_of_the_records():
    page = (RESULTS / "heads.md").read_text("utf-8")
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)
    assert filled(page) == page
