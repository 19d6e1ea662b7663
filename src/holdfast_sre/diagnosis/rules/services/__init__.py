"""Services that lead nowhere although healthy pods stand behind them: selector, target port, protocol."""

ORDER = ("service_selector", "service_target_port", "service_protocol")
