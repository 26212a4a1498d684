"""The paper's analyses and what lies beside them: numbers only, drawn in the notebooks that show them."""
