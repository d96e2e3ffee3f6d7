"""What a dry run prints of a source."""

import io

from rich.console import Console

from recsys_batch.contracts.data_profile import SourcePreview
from recsys_batch.report.preview import print_previews


def test_a_source_is_shown_before_and_after_and_markup_stays_text():
    preview = SourcePreview(
        "sources.items.0",
        "shop/[items].csv",
        before=({"Preis": "34,50", "T[1]": "[bold]x"},),
        after=({"price": "null", "title": "[bold]x"},),
        rows=1200,
        null_share={"price": 1.0, "title": 0.25},
        unread={"price": 1200},
        on_ds=None,
    )
    stream = io.StringIO()
    print_previews([preview], "2026-06-30", "UTC", Console(file=stream, width=120))
    said = stream.getvalue()
    for words in ("the first 1,200 rows of shop/[items].csv", "34,50", "T[1]", "[bold]x", "100.0%", "1,200", "25.0%"):
        assert words in said
    assert "2026-06-30" not in said
