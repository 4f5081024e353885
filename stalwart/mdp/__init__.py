"""What learners of control stand on: worlds side by side, policies, returns, replay, exact solutions, evaluation."""
