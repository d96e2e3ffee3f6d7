"""Search: words of texts, BM25 over fields, spelling, what a query asks for, and how evidence is joined."""
