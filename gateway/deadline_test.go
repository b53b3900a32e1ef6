package gateway

import (
	"net"
	"testing"
	"time"
)

// A deadlineConn says what deadlines were set on it.
type deadlineConn struct {
	net.Conn
	read, write []time.Time
}

func (d *deadlineConn) Read(p []byte) (int, error)         { return len(p), nil }
func (d *deadlineConn) Write(p []byte) (int, error)        { return len(p), nil }
func (d *deadlineConn) SetReadDeadline(t time.Time) error  { d.read = append(d.read, t); return nil }
func (d *deadlineConn) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

func TestDeadlinesAreSetOnlyWhenTheyWouldBeTooNearOrTooFar(t *testing.T) {
	raw := &deadlineConn{}
	c := &deviceConn{Conn: raw, socket: raw, s: &Server{}}
	within := func(what string, set []time.Time, n int, d time.Duration, began time.Time) {
		t.Helper()
		if len(set) != n {
			t.Fatalf("%s: %d deadlines were set, want %d", what, len(set), n)
		}
		if at := set[n-1]; at.Before(began.Add(d)) || at.After(time.Now().Add(d+d/8)) {
			t.Errorf("%s: the deadline is %v away, want %v and at most an eighth more", what, time.Until(at), d)
		}
	}
	buf := make([]byte, 8)
	read := func(d time.Duration) {
		c.allowRead(d)
		_, _ = c.Read(buf)
	}
	began := time.Now()
	for range 100 {
		read(time.Hour)
		c.allowWrite(time.Hour)
	}
	within("a hundred reads", raw.read, 1, time.Hour, began)
	within("a hundred writes", raw.write, 1, time.Hour, began)

	began = time.Now()
	c.allowRead(time.Second)
	if len(raw.read) != 1 {
		t.Error("a deadline was set before the socket was asked")
	}
	_, _ = c.Read(buf)
	within("less time", raw.read, 2, time.Second, began)
	_, _ = c.Read(buf)
	within("a second read of the same", raw.read, 2, time.Second, began)

	_ = c.SetReadDeadline(longAgo)
	_ = c.SetWriteDeadline(longAgo)
	began = time.Now()
	read(time.Second)
	c.allowWrite(time.Hour)
	within("a read after an interruption", raw.read, 4, time.Second, began)
	within("a write after an interruption", raw.write, 3, time.Hour, began)
}

func TestTheFarewellOfTLSKeepsItsDeadline(t *testing.T) {
	raw := &deadlineConn{}
	c := &deviceConn{Conn: raw, socket: raw, s: &Server{}, allowance: newAllowance(0)}
	_, _ = c.Write(nil)
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = c.Write(nil)
	if n := len(raw.write); n != 2 || time.Until(raw.write[1]) > 5*time.Second {
		t.Errorf("%d deadlines were set, the last %v away", n, time.Until(raw.write[n-1]))
	}
	_ = c.SetWriteDeadline(time.Time{})
	_, _ = c.Write(nil)
	if n := len(raw.write); n != 4 || time.Until(raw.write[3]) < 5*time.Second {
		t.Error("after it, writes have no deadline of their own")
	}
}
