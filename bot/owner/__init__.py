"""The owner's view of the whole service: queue, people, quotas, records, models, machine and charts."""
