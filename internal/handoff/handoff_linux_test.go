package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an instance with a Receiver that runs, and the supervisor's and balancer's ends of it.
type rig struct {
	receiver *Receiver
	attach   *os.File
	sender   *Sender
	front    *net.TCPListener
	ran      chan error
}

func newRig(t *testing.T, tags ...Tag) *rig {
	t.Helper()
	supervisor, instance := pair(t)
	r, err := NewReceiver(instance)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range tags {
		r.Listener(tag)
	}
	rig := &rig{receiver: r, attach: supervisor, ran: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { rig.ran <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err, open := <-rig.ran; open && err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	rig.sender = rig.attachSender(t)
	rig.front = listen(t)
	return rig
}

// attachSender does what supervisor and balancer do when a balancer starts.
func (r *rig) attachSender(t *testing.T) *Sender {
	t.Helper()
	balancer, instance := pair(t)
	if err := Attach(r.attach, instance); err != nil {
		t.Fatal(err)
	}
	instance.Close()
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ran })
	return s
}

// sendCopy sends a copy of c's descriptor. What comes back is reset.
func sendCopy(s *Sender, tag Tag, c *net.TCPConn) error {
	return sendOr(s, tag, c, func(fd int) {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	})
}

// sendOr sends a copy of c's descriptor, and hands it to back if it comes back.
func sendOr(s *Sender, tag Tag, c *net.TCPConn, back func(fd int)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	own := -1
	if ctlErr := raw.Control(func(fd uintptr) { own, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); ctlErr != nil || err != nil {
		return errors.Join(ctlErr, err)
	}
	if err := s.Send(tag, own, back); err != nil {
		unix.Close(own)
		return err
	}
	return nil
}

func (r *rig) ended(t *testing.T) error {
	t.Helper()
	err := <-r.ran
	close(r.ran)
	return err
}

// connect dials the front end and returns both ends of the connection.
func (r *rig) connect(t *testing.T) (client, accepted *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", r.front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a, err := r.front.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return c.(*net.TCPConn), a
}

// handOver sends a new connection and closes the balancer's copy.
func (r *rig) handOver(t *testing.T, tag Tag) (client *net.TCPConn) {
	t.Helper()
	client, accepted := r.connect(t)
	if err := sendCopy(r.sender, tag, accepted); err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	return client
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func pair(t *testing.T) (a, b *os.File) {
	t.Helper()
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func accept(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wantReset fails unless the peer of c resets it.
func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read = %v, want a reset", err)
	}
}

func wantEcho(t *testing.T, client, server net.Conn, word string) {
	t.Helper()
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		if _, err := io.WriteString(way[0], word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(word))
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != word {
			t.Fatalf("read %q, %v; want %q", got, err, word)
		}
	}
}

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestSourceAddressIsTrue(t *testing.T) {
	r := newRig(t, Public, Channel)
	for _, tag := range []Tag{Public, Channel} {
		client := r.handOver(t, tag)
		got := accept(t, r.receiver.Listener(tag))
		if got.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("%v: remote address %v, want the client's %v", tag, got.RemoteAddr(), client.LocalAddr())
		}
		if got.LocalAddr().String() != r.front.Addr().String() {
			t.Errorf("%v: local address %v, want the front end's %v", tag, got.LocalAddr(), r.front.Addr())
		}
		wantEcho(t, client, got, "hello")
	}
}

func TestThousandConnectionsArrive(t *testing.T) {
	r := newRig(t, Public)
	public := r.receiver.Listener(Public)
	const clients, each = 20, 50
	var all sync.WaitGroup
	all.Go(func() { // the instance: echo one byte
		var conns sync.WaitGroup
		defer conns.Wait()
		for range clients * each {
			c, err := public.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			conns.Go(func() {
				defer c.Close()
				b := []byte{0} // not io.Copy, which keeps pipes for later
				if _, err := io.ReadFull(c, b); err == nil {
					c.Write(b)
				}
			})
		}
	})
	all.Go(func() { // the balancer
		for range clients * each {
			c, err := r.front.AcceptTCP()
			if err != nil {
				t.Error(err)
				return
			}
			if err := sendCopy(r.sender, Public, c); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	})
	for range clients {
		all.Go(func() {
			for i := range each {
				if err := echoByte(r.front.Addr().String(), byte(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	r.attach.Close()
	r.ended(t) // the counters are final
	if got := r.receiver.Stats(); got.Received != clients*each || got.Dropped+got.Malformed != 0 {
		t.Errorf("stats = %+v, want %d received and nothing else", got, clients*each)
	}
}

func echoByte(address string, b byte) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte{b}); err != nil {
		return err
	}
	got := []byte{0}
	if _, err := io.ReadFull(c, got); err != nil || got[0] != b {
		return fmt.Errorf("echo of %d: %d, %v", b, got[0], err)
	}
	return nil
}

func TestHungInstanceNeverBlocksTheSender(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r rig
	r.front = listen(t)
	_, accepted := r.connect(t)
	sent := 0
	for err = nil; err == nil; {
		if err = sendCopy(s, Public, accepted); err == nil {
			sent++
		}
	}
	if !errors.Is(err, ErrBusy) {
		t.Fatalf("after %d sends: %v, want ErrBusy", sent, err)
	}
	if sent < 16 || sent > 4096 {
		t.Errorf("the queue holds %d connections, want a bound between 16 and 4096", sent)
	}
	// What was queued while the instance hung is there when it wakes.
	socket, err := NewSocket(instance)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if _, number, _, fd, err := receive(socket, make([]byte, 64), parcelBytes); err != nil || number != 1 {
		t.Errorf("number %d, %v; want the first", number, err)
	} else {
		unix.Close(fd)
	}
	if err := sendCopy(s, Public, accepted); err != nil {
		t.Errorf("send after the instance took one: %v", err)
	}
}

func TestDeadInstanceIsNoticed(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	var r rig
	r.front = listen(t)
	_, accepted := r.connect(t)
	gone := make(chan error, 1)
	instance.Close()
	if err := sendCopy(s, Public, accepted); !errors.Is(err, ErrGone) {
		t.Errorf("send to a dead instance: %v, want ErrGone", err)
	}
	go func() { gone <- s.Run(t.Context()) }()
	if err := <-gone; !errors.Is(err, ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	if err := sendCopy(s, Public, accepted); !errors.Is(err, ErrGone) {
		t.Errorf("send after the end: %v, want ErrGone", err)
	}
}

func TestSenderEndsWithItsContext(t *testing.T) {
	balancer, _ := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- s.Run(ctx) }()
	cancel()
	if err := <-gone; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestSupervisorsEndClosesListeners(t *testing.T) {
	r := newRig(t, Public)
	public := r.receiver.Listener(Public)
	r.attach.Close()
	if err := r.ended(t); !errors.Is(err, ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	if _, err := public.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
	if _, err := r.receiver.Listener(Health).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a listener asked for afterwards = %v, want net.ErrClosed", err)
	}
}

func TestConnectionsOutliveTheBalancer(t *testing.T) {
	r := newRig(t, Public)
	public := r.receiver.Listener(Public)
	client := r.handOver(t, Public)
	server := accept(t, public)
	queued := r.handOver(t, Public)
	r.sender.Close() // the balancer dies
	wantEcho(t, client, server, "still here")
	wantEcho(t, queued, accept(t, public), "queued when it died")

	r.sender = r.attachSender(t) // and comes back
	wantEcho(t, r.handOver(t, Public), accept(t, public), "new balancer")
	wantEcho(t, client, server, "old connection")
}

func TestTwoBalancersShareTheListeners(t *testing.T) {
	r := newRig(t, Public)
	first, second := r.sender, r.attachSender(t)
	for i, s := range []*Sender{first, second, first} {
		r.sender = s
		wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), fmt.Sprint(i))
	}
}

func TestUnknownTagIsReset(t *testing.T) {
	r := newRig(t, Public)
	for _, tag := range []Tag{'x', 0, Health /* known, but nobody asked for it */} {
		wantReset(t, r.handOver(t, tag))
	}
	if got := r.receiver.Stats().Malformed; got != 3 {
		t.Errorf("malformed = %d, want 3", got)
	}
	wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "goes on")
}

func TestFullListenerHoldsUpNobodyElse(t *testing.T) {
	r := newRig(t, Public, Health)
	r.receiver.mu.Lock()
	r.receiver.listeners[Public] = &listener{tag: Public, queue: make(chan arrival, 2)}
	r.receiver.mu.Unlock()
	r.handOver(t, Public)
	r.handOver(t, Public)
	wantReset(t, r.handOver(t, Public))
	wantEcho(t, r.handOver(t, Health), accept(t, r.receiver.Listener(Health)), "healthy")
	r.attach.Close()
	r.ended(t) // the counters are final
	if got := r.receiver.Stats(); got.Dropped != 1 || got.Received != 3 {
		t.Errorf("stats = %+v, want 1 dropped, 3 received", got)
	}
}

func TestClosedListenerResetsItsConnections(t *testing.T) {
	r := newRig(t, Public, Health)
	waiting := r.handOver(t, Public)
	wantEcho(t, r.handOver(t, Health), accept(t, r.receiver.Listener(Health)), "in order") // the one before has arrived
	public := r.receiver.Listener(Public)
	if err := public.Close(); err != nil {
		t.Fatal(err)
	}
	wantReset(t, waiting)
	wantReset(t, r.handOver(t, Public))
	if err := public.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close = %v, want net.ErrClosed", err)
	}
}

// Every message here comes from a balancer that is broken or taken over. The proof that the receiver keeps none of
// its descriptors is the end of a pipe: it is only seen once every copy of the write end is closed.
func TestMalformedMessageClosesItsDescriptors(t *testing.T) {
	r := newRig(t, Public)
	for row, tt := range []struct {
		name    string
		message string
		copies  int
	}{
		{"no tag", "", 1},
		{"no tag, two descriptors", "", 2},
		{"two descriptors", "p0000", 2},
		{"three descriptors", "p0000", 3},
		{"a hundred descriptors", "p0000", 100},
		{"short message", "p", 1},
		{"long message", "p00000", 1},
		{"very long message", "pppppppppppppppppppppppp", 2},
		{"not a socket", "p0000", 1},
		{"attach over a hand-over end", "a", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			end, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			fds := make([]int, tt.copies)
			for i := range fds {
				fds[i] = int(write.Fd())
			}
			before := r.receiver.Stats().Malformed
			if len(tt.message) == parcelBytes { // it gets a receipt, by its number
				tt.message = tt.message[:4] + string(rune('0'+row))
				r.sender.mu.Lock()
				r.sender.unanswered[0x30303030+uint32(row)] = parcel{fd: -1}
				r.sender.mu.Unlock()
			}
			if _, _, err := r.sender.socket.conn.WriteMsgUnix([]byte(tt.message), unix.UnixRights(fds...), nil); err != nil {
				t.Fatal(err)
			}
			write.Close()
			if n, err := end.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("read = %d, %v; want the end: all copies closed", n, err)
			}
			wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "goes on")
			if got := r.receiver.Stats().Malformed; got != before+1 {
				t.Errorf("malformed = %d, want %d", got, before+1)
			}
		})
	}
}

func TestSocketsOfTheWrongKindAreRefused(t *testing.T) {
	r := newRig(t, Public)
	file := func(f *os.File, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	listening := file(listen(t).File())
	a, _ := pair(t)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for i, f := range []*os.File{listening, a, file(udp.File())} {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.sender.Send(Public, fd, nil); err != nil {
			t.Fatal(err)
		}
		f.Close()
		wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "goes on")
		if got := r.receiver.Stats().Malformed; got != uint64(i+1) {
			t.Errorf("malformed = %d, want %d", got, i+1)
		}
	}
}

func TestAttachSocketTakesHandOverEndsOnly(t *testing.T) {
	r := newRig(t, Public)
	client, accepted := r.connect(t)
	raw := func(message string, f *os.File) {
		t.Helper()
		if err := write(r.attach, []byte(message), f); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := accepted.File()
	if err != nil {
		t.Fatal(err)
	}
	raw("a", conn)  // attach what is no hand-over end
	raw("p", conn)  // a connection where an end should come
	raw("a", nil)   // nothing
	raw("aaa", nil) // and too much of it
	conn.Close()
	accepted.Close()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open somewhere")
	}
	r.sender = r.attachSender(t)
	wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "goes on")
	if got := r.receiver.Stats(); got.Malformed != 4 || got.Ends != 2 {
		t.Errorf("stats = %+v, want 4 malformed, 2 ends", got)
	}
}

func TestEndsAreBounded(t *testing.T) {
	r := newRig(t, Public)
	for range maxEnds - 1 {
		r.attachSender(t)
	}
	balancer, instance := pair(t)
	if err := Attach(r.attach, instance); err != nil {
		t.Fatal(err)
	}
	instance.Close()
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("one end too many: %v, want ErrGone", err)
	}
	if got := r.receiver.Stats().Ends; got != maxEnds {
		t.Errorf("ends = %d, want %d", got, maxEnds)
	}
}

func TestReceiverSurvivesRunningOutOfDescriptors(t *testing.T) {
	r := newRig(t, Public)
	wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "attached by now")
	client, accepted := r.connect(t)
	back := make(chan int, 1)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// A descriptor beyond every one in use: from here on nothing more can be opened.
	f, err := accepted.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd())
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	err = r.sender.Send(Public, fd, func(fd int) { back <- fd })
	got := <-back
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil || got != fd {
		t.Errorf("send = %v, %d came back; want %d", err, got, fd)
	}
	wantEcho(t, client, accepted, "for another")
	wantEcho(t, r.handOver(t, Public), accept(t, r.receiver.Listener(Public)), "goes on")
}

func TestDescriptorsAreCloseOnExec(t *testing.T) {
	r := newRig(t, Public)
	r.handOver(t, Public)
	c := accept(t, r.receiver.Listener(Public))
	a, _ := pair(t)
	for name, s := range map[string]syscall.Conn{"received": c.(*net.TCPConn), "pair": a, "attach": r.receiver.attach.conn, "sender": r.sender.socket.conn} {
		raw, err := s.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %#x, %v; want FD_CLOEXEC", name, flags, err)
			}
		})
	}
}

func TestNothingIsLeaked(t *testing.T) {
	t.Run("warm up", func(t *testing.T) { newRig(t, Public) }) // the runtime's own descriptors
	before := openFiles(t)
	t.Run("use", func(t *testing.T) {
		r := newRig(t, Public)
		for range 20 {
			r.handOver(t, Public) // half of them are never accepted
			r.handOver(t, Public)
			r.handOver(t, 'x')
			accept(t, r.receiver.Listener(Public))
		}
		r.sender.Close()
		r.attach.Close()
		r.ended(t)
	})
	if got := openFiles(t); got != before {
		t.Errorf("%d descriptors open, want the %d from before", got, before)
	}
}

func TestReadHonoursItsDeadline(t *testing.T) {
	a, _ := pair(t)
	s, err := NewSocket(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetReadDeadline(time.Now())
	if _, _, err := s.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %v, want a deadline error", err)
	}
}

func TestNewSocketRefusesOtherFiles(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewReceiver(f); err == nil {
		t.Error("NewReceiver took /dev/null")
	}
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file was left open: Close = %v", err)
	}
}
