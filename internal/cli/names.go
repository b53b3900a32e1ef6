package cli

// Names of the descriptors that `up` gives to its children.
const (
	attachName   = "attach"   // a gateway instance's end of its attach socket
	controlName  = "control"  // the balancer's end of its control socket
	listenerName = "listener" // the sample server's listening socket
)
