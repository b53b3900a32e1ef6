package handoff

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/causeway-gateway/causeway/internal/begun"
	"github.com/causeway-gateway/causeway/internal/sock"
)

// forwarding is a rig whose balancer keeps what the instance gives back.
func forwarding(t *testing.T) (r *rig, given chan Forward, fds chan int) {
	t.Helper()
	supervisor, instance := pair(t)
	receiver, err := NewReceiver(instance)
	if err != nil {
		t.Fatal(err)
	}
	receiver.Listener(Public)
	receiver.Listener(Channel)
	r = &rig{receiver: receiver, attach: supervisor, ran: make(chan error, 1), front: listen(t)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.ran <- receiver.Run(ctx) }()
	given, fds = make(chan Forward, 1), make(chan int, 1)
	balancer, end := pair(t)
	if err := Attach(supervisor, end); err != nil {
		t.Fatal(err)
	}
	end.Close()
	if r.sender, err = NewSender(balancer); err != nil {
		t.Fatal(err)
	}
	r.sender.Forwarded = func(fd int, f Forward) { fds <- fd; given <- f }
	over := make(chan error, 1)
	go func() { over <- r.sender.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-over; <-r.ran })
	wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "attached by now")
	return r, given, fds
}

// A connection goes to the balancer and from there to another instance, which finds it as if it had been the first.
func TestForwardedConnectionIsAsItCame(t *testing.T) {
	r, given, fds := forwarding(t)
	client := r.handOver(t, Public)
	conn := accept(t, r.receiver.Listener(Public))
	if _, err := client.Write([]byte("first ")); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 6)
	if _, err := conn.Read(head); err != nil {
		t.Fatal(err)
	}
	if err := r.receiver.Forward(conn.(*net.TCPConn), Forward{Slot: 7, Head: head}); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	fd, f := <-fds, <-given
	if f.Slot != 7 || f.Source.IsValid() || string(f.Head) != "first " {
		t.Errorf("given back as %+v", f)
	}
	if err := r.sender.SendForward(fd, f, nil); err != nil {
		t.Fatal(err)
	}
	again := accept(t, r.receiver.Listener(Channel))
	if b, ok := again.(*begun.Conn); !ok || !isShared(b.Conn) {
		t.Errorf("%T does not say that another had it", again)
	}
	if again.RemoteAddr().String() != client.LocalAddr().String() {
		t.Errorf("it comes from %s, want %s", again.RemoteAddr(), client.LocalAddr())
	}
	if _, err := client.Write([]byte("second")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, 12)
	for len(got) < cap(got) {
		n, err := again.Read(got[len(got):cap(got)])
		if err != nil {
			t.Fatal(err)
		}
		got = got[:len(got)+n]
	}
	if string(got) != "first second" {
		t.Errorf("it reads %q", got)
	}
	wantEcho(t, client, again, "both ways")
}

func isShared(c net.Conn) bool {
	_, shared := c.(sock.Shared)
	return shared
}

// An instance learns which connections another had before.
func TestSecondHandConnectionsAreShared(t *testing.T) {
	r := newRig(t, Public)
	for _, tag := range []Tag{Public, Again} {
		client := r.handOver(t, tag)
		conn := accept(t, r.receiver.Listener(Public))
		if isShared(conn) != (tag == Again) {
			t.Errorf("%c comes as %T", tag, conn)
		}
		wantEcho(t, client, conn, "both ways")
	}
}

// One end of a stream pair passes for the connection that the instance keeps.
func TestForwardedStreamKnowsItsSource(t *testing.T) {
	r, given, fds := forwarding(t)
	ours, theirs, err := StreamPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	source, destination := netip.MustParseAddrPort("203.0.113.9:50000"), netip.MustParseAddrPort("[2001:db8::1]:443")
	if err := r.receiver.Forward(theirs, Forward{Slot: 1, Source: source, Destination: destination}); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	fd, f := <-fds, <-given
	if f.Source != source || f.Destination != destination {
		t.Errorf("given back as %+v", f)
	}
	if err := r.sender.SendForward(fd, f, nil); err != nil {
		t.Fatal(err)
	}
	again := accept(t, r.receiver.Listener(Channel))
	if again.RemoteAddr().String() != source.String() {
		t.Errorf("it comes from %s, want %s", again.RemoteAddr(), source)
	}
	wantEcho(t, ours, again, "through the pair")
}

// The largest head passes, a larger one is refused before it is sent.
func TestForwardedHeadIsBounded(t *testing.T) {
	r, given, fds := forwarding(t)
	_, conn := r.connect(t)
	full := bytes.Repeat([]byte("x"), MaxHeadBytes)
	if err := r.receiver.Forward(conn, Forward{Slot: 1, Head: append(full, 'x')}); err == nil {
		t.Error("a head that is too long was sent")
	}
	if err := r.receiver.Forward(conn, Forward{Slot: 1, Head: full}); err != nil {
		t.Fatal(err)
	}
	unix.Close(<-fds)
	if f := <-given; !bytes.Equal(f.Head, full) {
		t.Errorf("%d bytes arrived, want %d", len(f.Head), len(full))
	}
}

// An instance that writes nonsense is broken, and one that gives away what is no connection gets nobody to serve it.
func TestForwardNonsenseEndsTheInstance(t *testing.T) {
	for name, message := range map[string]string{
		"another tag": "p\x01\x00", "no route": "r\x01", "a route that is too long": "r\x01\xff" + strings.Repeat("x", 300),
		"a route beyond the end": "r\x01\x20abc", "no addresses": "r\x01\x03a b", "one address": "r\x01\x0b10.0.0.1:80",
	} {
		t.Run(name, func(t *testing.T) {
			balancer, instance := pair(t)
			s, err := NewSender(balancer)
			if err != nil {
				t.Fatal(err)
			}
			s.Forwarded = func(fd int, f Forward) { t.Errorf("took %+v", f); unix.Close(fd) }
			socket, err := NewSocket(instance)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer null.Close()
			if err := socket.Write([]byte(message), null); err != nil {
				t.Fatal(err)
			}
			if err := s.Run(t.Context()); !errors.Is(err, ErrGone) {
				t.Errorf("Run = %v, want ErrGone", err)
			}
		})
	}
	r, _, _ := forwarding(t)
	before := 0
	for i := range 4 {
		if i == 1 { // by now all is open that stays so
			before = openFiles(t)
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		null.Close()
		if err != nil {
			t.Fatal(err)
		}
		back := make(chan int, 1)
		if err := r.sender.SendForward(fd, Forward{Source: netip.MustParseAddrPort("10.0.0.1:80"), Destination: netip.MustParseAddrPort("10.0.0.1:80")}, func(fd int) { back <- fd }); err != nil {
			t.Fatal(err)
		}
		unix.Close(<-back)
	}
	if got := openFiles(t); got > before {
		t.Errorf("%d files are open, %d before", got, before)
	}
}

// A balancer that is out of descriptors loses what is given back to it, and not the instance that gave it.
func TestForwardWithoutDescriptorsKeepsTheInstance(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	slots := make(chan int, 2)
	s.Forwarded = func(fd int, f Forward) { unix.Close(fd); slots <- f.Slot }
	socket, err := NewSocket(instance)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	// The message is long in the queue when Run reads it: this process has no free number while it does.
	if err := socket.Write([]byte("r\x01\x00head"), null); err != nil {
		t.Fatal(err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxMessageBytes+1)
	n, fd, readErr := read(s.socket.conn, buf)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(readErr, ErrMalformed) || fd >= 0 || !lostDescriptor(buf[:n]) {
		t.Fatalf("without descriptors: %q, descriptor %d, %v, want a message that lost its descriptor", buf[:n], fd, readErr)
	}
	// Two descriptors are cut off in the same way, and Run must go on.
	raw, err := socket.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	number := int(null.Fd())
	var sent error
	if err := raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), []byte("r\x01\x00head"), unix.UnixRights(number, number, number), nil, 0)
	}); err != nil || sent != nil {
		t.Fatal(err, sent)
	}
	if err := socket.Write([]byte("r\x02\x00"), null); err != nil {
		t.Fatal(err)
	}
	socket.Close()
	if err := s.Run(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	select {
	case slot := <-slots:
		if slot != 2 {
			t.Errorf("slot %d was forwarded, want 2 alone", slot)
		}
	default:
		t.Error("the forward after the one that was lost did not arrive")
	}
}
