// Package channel carries requests between a gateway instance and a connection point.
//
//	gateway:           Pool.Exchange ─► stream on one link of one channel set ─► connection point
//	connection point:  Session.Serve ─► Handler.Handle(Inbound) ─► server, and the answer the same way back
//
// The connection point dials. A channel set is its two to four connections to one instance, each TLS 1.3 with
// certificates on both sides; the gateway spreads requests over the sets in turn and, within a set, over the
// connection with the least to do. Bulk connections, up to 32 for a set, carry large bodies. Whoever has the connection makes TLS; this package takes it from there.
//
// # A session
//
// The connection point sends the newest signed documents and then its hello. The gateway verifies and applies the
// documents before it judges the hello by them, so that a gateway whose configuration is old can still be reached
// by the connection point that brings the new one. It answers with a welcome or with a code. From then on:
//
//   - A principal is a device connection and its proof. The gateway sends it once on each link that carries its
//     requests; the connection point verifies the evidence itself.
//   - A request is an open frame with head and first body bytes, then data. A small request is one frame, and so is
//     its answer. Heads are HTTP/1.1 heads without transfer coding, and are parsed strictly by both ends.
//   - Body bytes are sent against credit, for each stream and direction. A request starts with 16 KiB in its open
//     frame and gets more once the connection point has reached the server; until then the gateway can send it
//     elsewhere. An answer starts with 64 KiB. Windows grow to 4 MiB for readers that keep up, and shrink when the
//     process's memory budget runs low. Nothing is bounded by what a link carries together, so a reader that
//     stands still holds up nobody else.
//   - Large bodies move: once 256 KiB of one direction have passed, what follows goes over a bulk connection, which
//     serves one stream at a time and which TCP alone holds back. The connection point dials them, when bodies ask
//     for them, with the same handshake and hello; it says where an answer moves to, and offers the gateway one for a
//     request's body. Everything but the bytes of the body stays on the request connection: head, reset, and with it
//     what a stream's end means. Without a bulk connection at hand a body stays where it is, and loses nothing.
//   - A reset ends a stream both ways. From the connection point it says what became of the request: not
//     delivered, delivered, or final. The gateway alone retries, and writes the attempt's number into the request.
//   - leave announces that a side goes away. A connection point is then sent nothing new, and told so by an
//     acknowledgement; an instance goes on with the devices it has while connection points look for the next one.
//   - Both sides ping. Any byte counts as life; four and a half seconds without one end the link, and so does a write
//     of which nothing is taken in that time: five seconds after a fault, the link is gone.
//
// # Limits
//
// Frames carry at most 128 KiB, data at most 32 KiB (128 KiB on a bulk connection), heads 64 KiB, documents 4 MiB, evidence 64 KiB. A connection
// point bounds streams and principals for each link, and refuses what exceeds them: it does not trust a gateway to
// keep to anything. A violation closes the link and no other.
//
// # Versions
//
// The hello offers a span of versions, the welcome names the one in use. Within a version, JSON fields may be added
// and frames of type 0x40 to 0x7f too: who does not know them skips them. Everything else (a new meaning, a frame
// below 0x40, a field in a fixed layout) needs a new version, spoken beside the old one for as long as sites may run
// both.
package channel
