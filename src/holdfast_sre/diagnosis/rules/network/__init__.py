"""Delay and loss on the network of a node or of one service's pods, from measured deviations.

A slow service is a cause only where no service that it calls is slow enough to explain it.
"""

ORDER = ("network_delay_node", "network_loss_node", "network_delay_pod", "network_loss_pod")
