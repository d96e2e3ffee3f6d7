"""What every input table goes through, whatever it holds: reading, logging, profile, expectations, quarantine.

Knows neither events nor items.
"""
