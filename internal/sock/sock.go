// Package sock reads and writes TCP sockets at less cost than package net.
//
// Go's scheduler has to assume that any system call may last, and watches each one: a thread that is in one for more than
// some 20 µs, be it only because the kernel had something else to do, loses its processor to another thread, which has to
// be woken, and then waits for one itself. The watching alone keeps a thread busy. A socket of package net never blocks,
// so for reading and writing it nobody has to be told. On Linux that spares a tenth of a small request's processor time;
// elsewhere, where system calls without the scheduler's knowledge are not for programs, everything is as in package net.
//
// Not to wait for the other side is not never to wait: a call takes the socket's lock, and a process that has the same
// socket can hold that for seconds. Nobody being told, all of this process would stand still with it. Such a socket is
// Shared, and everything with it as in package net.
package sock

import "net"

// A Shared connection is one that another process had before, and may have kept. New leaves it alone.
type Shared struct{ *net.TCPConn }
