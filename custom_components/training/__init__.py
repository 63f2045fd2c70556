"""How a batch becomes a loss and a step: what is handed to the network, parameter groups, schedule, inference."""
