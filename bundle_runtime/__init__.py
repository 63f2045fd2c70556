"""What a run needs around the method: engines, data, weights, scores, pictures."""
