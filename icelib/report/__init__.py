"""Result files as tables, claims and figures beside the paper's."""
