"""What every card has in common: catalogues, durations and the card of a job."""
