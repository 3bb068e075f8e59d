"""From waiting to delivered: batches, the dispatcher, outcomes, expected waits, and recovery."""
