"""From waiting to delivered: queue, scheduler, dispatcher, delivery, recovery."""
