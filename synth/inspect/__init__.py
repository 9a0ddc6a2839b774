"""For people's eyes: object folders checked and drawn, labels drawn on pictures."""
