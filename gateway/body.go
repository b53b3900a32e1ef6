package gateway

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/causeway-gateway/causeway"
)

// minBodyBytesPerSecond is what a request body must bring on average beyond its idle time. Without it a sender of
// one byte a minute would keep its place for ever.
const minBodyBytesPerSecond = 240

// patience meters how long a body may keep us waiting: no pause above idle, and in all not more than idle plus
// what the bytes that came have earned. Time in which we did not ask for bytes does not count.
type patience struct {
	idle   time.Duration
	waited time.Duration
	bytes  int64
}

// next is how long the next read may take.
func (p *patience) next() time.Duration {
	earned := time.Duration(p.bytes/minBodyBytesPerSecond) * time.Second
	return min(p.idle, max(time.Millisecond, p.idle+earned-p.waited))
}

func (p *patience) took(d time.Duration, n int) {
	p.waited += d
	p.bytes += int64(n)
}

// bodyFailure gives an error of reading a request body the meaning it has for the device.
func bodyFailure(err error) error {
	if _, ok := errors.AsType[*causeway.Refusal](err); ok {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &causeway.Refusal{Code: causeway.CodeRequestTimeout, Reason: "request body too slow"}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errDeviceGone
	}
	return errors.Join(errDeviceGone, err)
}
