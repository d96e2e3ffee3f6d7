"""What texts become: cleaned, compared, cut into sentences, masked; all in time linear in the text. Knows no table."""
