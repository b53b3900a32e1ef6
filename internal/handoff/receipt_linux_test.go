package handoff

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// wantBack fails unless the connection that came back is as good as new: a second instance finds the client's first
// byte in it.
func wantBack(t *testing.T, back <-chan int, client net.Conn) {
	t.Helper()
	f := os.NewFile(uintptr(<-back), "came back")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wantEcho(t, client, c, "for another")
}

// TestWhatADyingInstanceHadNotTakenComesBack kills an instance with one connection accepted, one in its listener's
// queue and one in the kernel's.
func TestWhatADyingInstanceHadNotTakenComesBack(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	var r rig
	r.front = listen(t)
	socket, err := NewSocket(instance)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	back := make(chan int, 3)
	clients := make([]net.Conn, 3)
	for i := range clients {
		client, accepted := r.connect(t)
		if err := sendOr(s, Public, accepted, func(fd int) { back <- fd }); err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		clients[i] = client
	}
	for i := range 2 {
		_, number, _, fd, err := receive(socket, make([]byte, 64), parcelBytes)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		if i == 0 {
			if err := socket.receipt(taken, number); err != nil {
				t.Fatal(err)
			}
		}
	}
	socket.Close()
	if err := s.Run(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	if len(back) != 2 {
		t.Fatalf("%d connections came back, want the 2 without a receipt", len(back))
	}
	// The map has no order.
	for range 2 {
		f := os.NewFile(uintptr(<-back), "came back")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range clients[1:] {
			if client.LocalAddr().String() == c.RemoteAddr().String() {
				wantEcho(t, client, c, "for another")
			}
		}
		c.Close()
	}
	if _, err := clients[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection that was taken: %v, want its end", err)
	}
}

// TestAStoppingInstanceGivesBackWhatItDidNotAccept closes a listener as a drain does.
func TestAStoppingInstanceGivesBackWhatItDidNotAccept(t *testing.T) {
	r := newRig(t, Public, Health)
	back := make(chan int, 2)
	send := func() net.Conn {
		client, accepted := r.connect(t)
		if err := sendOr(r.sender, Public, accepted, func(fd int) { back <- fd }); err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		return client
	}
	waiting := send()
	wantEcho(t, r.handOver(t, Health), accept(t, r.receiver.Listener(Health)), "in order") // the one before has arrived
	r.receiver.Listener(Public).Close()
	wantBack(t, back, waiting)
	wantBack(t, back, send())
	wantEcho(t, r.handOver(t, Health), accept(t, r.receiver.Listener(Health)), "goes on")
}

// TestACloseWaitsForReceipts removes an instance that lives: what it takes by and by stays with it.
func TestACloseWaitsForReceipts(t *testing.T) {
	r := newRig(t, Public)
	client, accepted := r.connect(t)
	if err := sendOr(r.sender, Public, accepted, func(fd int) {
		unix.Close(fd)
		t.Error("the connection came back although the instance took it")
	}); err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	if err := r.sender.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.sender.Send(Public, 0, nil); !errors.Is(err, ErrGone) {
		t.Errorf("send after Close: %v, want ErrGone", err)
	}
	wantEcho(t, client, accept(t, r.receiver.Listener(Public)), "still taken")
}

// TestABrokenInstanceCannotKeepDescriptors reads connections and answers for none, or for what was never sent.
func TestABrokenInstanceCannotKeepDescriptors(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
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
	s.number = 1<<32 - 1 // it may wrap
	sent := 0
	for err = nil; sent <= maxUnanswered; sent++ {
		fd, dupErr := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if dupErr != nil {
			t.Fatal(dupErr)
		}
		if err = s.Send(Public, fd, nil); err != nil {
			unix.Close(fd)
			break
		}
		if _, _, _, got, err := receive(socket, make([]byte, 64), parcelBytes); err != nil {
			t.Fatal(err)
		} else {
			unix.Close(got)
		}
	}
	if !errors.Is(err, ErrBusy) || sent != maxUnanswered {
		t.Errorf("after %d connections without a receipt: %v, want ErrBusy after %d", sent, err, maxUnanswered)
	}
	if err := socket.receipt(taken, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); !errors.Is(err, ErrGone) {
		t.Errorf("Run after a receipt for nothing = %v, want ErrGone", err)
	}
	if len(s.unanswered) != 0 {
		t.Errorf("%d descriptors are kept", len(s.unanswered))
	}
}

// TestReceiptsBehindAResetAreRead leaves a message unread, which makes the kernel say ECONNRESET before it shows what
// the instance had written.
func TestReceiptsBehindAResetAreRead(t *testing.T) {
	balancer, instance := pair(t)
	s, err := NewSender(balancer)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := NewSocket(instance)
	if err != nil {
		t.Fatal(err)
	}
	var r rig
	r.front = listen(t)
	back := make(chan int, 2)
	for range 2 {
		_, accepted := r.connect(t)
		if err := sendOr(s, Public, accepted, func(fd int) { back <- fd }); err != nil {
			t.Fatal(err)
		}
	}
	_, number, _, fd, err := receive(socket, make([]byte, 64), parcelBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := socket.receipt(taken, number); err != nil {
		t.Fatal(err)
	}
	socket.Close()
	if err := s.Run(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("Run = %v, want ErrGone", err)
	}
	if len(back) != 1 {
		t.Fatalf("%d connections came back, want the one that was not taken", len(back))
	}
	unix.Close(<-back)
}
