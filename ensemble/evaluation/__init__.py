"""Numbers alone: losses, bootstrap, intervals, calibration, area under the curve."""
