package gateway

import (
	"context"
	"errors"

	"github.com/causeway-gateway/causeway"
)

// A fault says whose doing it is that a request got no complete answer: who looks after servers must not be woken for
// devices that hang up.
type fault uint8

const (
	faultNone    fault = iota
	faultDevice        // it hung up, stopped reading or sending, or sent what cannot be
	faultServer        // it was not reached, or its answer was cut, late, wrong or a 5xx
	faultChannel       // there was none, it broke, or the connection point refused
	faultGateway       // this instance turned the request away or stopped, or made a mistake
	numFaults
)

// faultNames are the values of the label reason.
var faultNames = [numFaults]string{faultDevice: "device", faultServer: "server", faultChannel: "channel", faultGateway: "gateway"}

// faultOf attributes the error that ended a request. ctx is the request's.
func faultOf(ctx context.Context, err error) fault {
	if err == nil {
		return faultNone
	}
	r, refused := errors.AsType[*causeway.Refusal](err)
	switch {
	case errors.Is(err, errDeviceGone), errors.Is(err, errIdleAnswer), errors.Is(err, context.Canceled):
		return faultDevice
	case errors.Is(err, errStopping):
		return faultGateway
	case refused:
		return faultOfCode(r.Code)
	case ctx.Err() != nil: // what was under way ended with it
		if errors.Is(context.Cause(ctx), errStopping) {
			return faultGateway
		}
		return faultDevice
	}
	return faultServer // an answer that is not what its head declared
}

func faultOfCode(c causeway.Code) fault {
	switch c {
	case causeway.CodeConnectorServerUnreachable, causeway.CodeConnectorServerReset, causeway.CodeConnectorBadAnswer,
		causeway.CodeConnectorServerTimeout:
		return faultServer
	case causeway.CodeNoConnectionPoint, causeway.CodeChannelLost, causeway.CodeAnswerTimeout:
		return faultChannel
	case causeway.CodeConnectorRequestTimeout:
		return faultDevice
	}
	switch {
	case c == causeway.CodeNone || c >= causeway.CodeConnectorForbidden:
		return faultChannel
	case c.Status() < 500:
		return faultDevice
	}
	return faultGateway
}
