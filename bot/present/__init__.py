"""From a job's state to a card in the person's language."""
