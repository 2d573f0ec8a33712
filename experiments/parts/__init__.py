"""What belongs to one experiment and would make its file long: its cells, its report, its figures."""
