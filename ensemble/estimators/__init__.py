"""The toolkit's learners where scikit-learn's estimators are expected."""
