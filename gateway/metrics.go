package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// Values of the label direction, the same as a connection point's.
const (
	directionRequest = "request"
	directionAnswer  = "answer"
)

// metrics are the gateway's counters. Every label value comes from a closed list or from the signed configuration,
// and the counters of the request path are looked up once, at the start.
type metrics struct {
	byClass     [6]prometheus.Counter // index: status / 100
	inFlight    prometheus.Gauge
	requested   prometheus.Counter // body bytes
	answeredTo  prometheus.Counter // body bytes
	latency     prometheus.Histogram
	refusals    *prometheus.CounterVec // code
	handshakes  *prometheus.CounterVec // result
	handshakeOK prometheus.Counter
	resumed     prometheus.Counter
	shed        *prometheus.CounterVec        // limit
	cut         *prometheus.CounterVec        // reason
	aborted     [numFaults]prometheus.Counter // by reason; none of faultNone
	admitted    prometheus.Counter
	upgrades    prometheus.Gauge
	documents   *prometheus.CounterVec // result
	channels    *prometheus.CounterVec // result
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const ns = "causeway_gateway"
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "requests_total",
		Help: "Requests answered, by class of status."}, []string{"class"})
	handshakes := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "tls_handshakes_total",
		Help: "TLS handshakes with devices, by result."}, []string{"result"})
	bodies := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "body_bytes_total",
		Help: "Bytes of bodies passed on, by direction."}, []string{"direction"})
	aborted := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "answers_aborted_total",
		Help: "Answers cut off because they could not be completed, by whose doing that is."}, []string{"reason"})
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "requests_in_flight",
			Help: "Requests being answered."}),
		requested:  bodies.WithLabelValues(directionRequest),
		answeredTo: bodies.WithLabelValues(directionAnswer),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "request_duration_seconds",
			Help:    "From the end of the request head to the end of the answer, of requests passed on.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "refusals_total",
			Help: "Requests refused, by code."}, []string{"code"}),
		handshakes: handshakes,
		resumed: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "tls_resumptions_total",
			Help: "TLS handshakes that resumed a session."}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "connections_shed_total",
			Help: "Connections closed unanswered, by the limit that was reached."}, []string{"limit"}),
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "http2_connections_cut_total",
			Help: "HTTP/2 connections ended for what their device did: stranger, no request of a known device in time; bytes, frames that ask for nothing; resets, requests taken back."}, []string{"reason"}),
		admitted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "requests_admitted_total",
			Help: "Requests of known devices that were passed on."}),
		upgrades: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "upgraded_connections",
			Help: "Connections that were upgraded and are open."}),
		documents: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "documents_total",
			Help: "Signed documents received, by result."}, []string{"result"}),
		channels: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "channel_handshakes_total",
			Help: "Connections to the channel listener, by what became of them."}, []string{"result"}),
	}
	for i, class := range []string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		m.byClass[i] = requests.WithLabelValues(class)
	}
	m.handshakeOK = handshakes.WithLabelValues("ok")
	for f := faultDevice; f < numFaults; f++ {
		m.aborted[f] = aborted.WithLabelValues(faultNames[f])
	}
	// They are there from the start, so that the first event is a step that a rate sees. Codes are many, and come as
	// they do.
	for _, c := range []struct {
		counter *prometheus.CounterVec
		values  []string
	}{
		{handshakes, []string{"not_tls", "alert", "timeout", "too_large", "stopping", "failed"}},
		{m.shed, []string{string(shedConnections), string(shedSource), string(shedHandshakes), string(shedSourceHandshakes), string(shedLargeChains)}},
		{m.cut, []string{cutStranger, cutBytes, cutResets}},
		{m.documents, []string{"applied", "refused"}},
		{m.channels, []string{"admitted", "refused", "handshake_failed", "shed", "passed", "not_passed"}},
	} {
		for _, value := range c.values {
			c.counter.WithLabelValues(value)
		}
	}
	for _, c := range []prometheus.Collector{requests, m.inFlight, bodies, m.latency, m.refusals, handshakes, m.cut,
		m.resumed, m.shed, aborted, m.admitted, m.upgrades, m.documents, m.channels} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// answered counts one answer to a device.
func (m *metrics) answered(status int) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	m.byClass[class].Inc()
}

func (m *metrics) refused(code causeway.Code) { m.refusals.WithLabelValues(code.String()).Inc() }

func (m *metrics) carried(in, out int64, took time.Duration) {
	if in > 0 {
		m.requested.Add(float64(in))
	}
	if out > 0 {
		m.answeredTo.Add(float64(out))
	}
	m.latency.Observe(took.Seconds())
}

// A collector reads what others hold at the moment of a scrape: connections, channels, configuration, servers.
type collector struct{ s *Server }

var (
	descConnections = prometheus.NewDesc("causeway_gateway_connections", "Device connections open.", nil, nil)
	descHandshaking = prometheus.NewDesc("causeway_gateway_tls_handshakes_in_flight", "TLS handshakes not finished.", nil, nil)
	descDevices     = prometheus.NewDesc("causeway_gateway_devices", "Devices with a connection or a limit not yet recovered.", nil, nil)
	descReady       = prometheus.NewDesc("causeway_gateway_ready", "1 while a channel takes requests.", nil, nil)
	descGeneration  = prometheus.NewDesc("causeway_gateway_document_generation", "Generation of the signed configuration in force; 0 for none.", nil, nil)
	descIssued      = prometheus.NewDesc("causeway_gateway_document_issued_timestamp_seconds", "When the configuration in force was issued, in Unix time.", nil, nil)
	descValid       = prometheus.NewDesc("causeway_gateway_document_valid_until_timestamp_seconds", "When the configuration in force is stale, in Unix time.", nil, nil)
	descCertificate = prometheus.NewDesc("causeway_gateway_certificate_not_after_timestamp_seconds", "When the service certificate ends, in Unix time.", nil, nil)
	descChannels    = prometheus.NewDesc("causeway_gateway_channel_connections", "Live connections of a connection point.", []string{"connection_point"}, nil)
	descTransports  = prometheus.NewDesc("causeway_gateway_channel_transport_connections", "Live connections of a connection point, by the way they came.", []string{"connection_point", "transport"}, nil)
	descChannelRTT  = prometheus.NewDesc("causeway_gateway_channel_round_trip_seconds", "Last round trip, by connection point.", []string{"connection_point"}, nil)
	descChannelReqs = prometheus.NewDesc("causeway_gateway_channel_requests_total", "Requests sent, by connection point.", []string{"connection_point"}, nil)
	descChannelNow  = prometheus.NewDesc("causeway_gateway_channel_streams", "Requests under way on the channels of a connection point.", []string{"connection_point"}, nil)
	descChannelOut  = prometheus.NewDesc("causeway_gateway_channel_queued_bytes", "Output to a connection point that waits behind what is being written.", []string{"connection_point"}, nil)
	descChannelSum  = prometheus.NewDesc("causeway_gateway_channel_bytes_total", "Bytes of frames to and from a connection point, its bulk connections included, by direction.", []string{"connection_point", "direction"}, nil)
	descChannelDial = prometheus.NewDesc("causeway_gateway_channel_dials_total", "Connections for requests that a connection point has made; all but the first few are reconnects.", []string{"connection_point"}, nil)
	descBulk        = prometheus.NewDesc("causeway_gateway_channel_bulk_connections", "Connections of a connection point for large bodies.", []string{"connection_point", "state"}, nil)
	descStalls      = prometheus.NewDesc("causeway_gateway_channel_credit_stalls_total", "Times a body waited for the other side of a channel, by connection point.", []string{"connection_point"}, nil)
	descMemory      = prometheus.NewDesc("causeway_gateway_channel_memory_used_bytes", "Body bytes held for channels.", nil, nil)
	descBudget      = prometheus.NewDesc("causeway_gateway_channel_memory_budget_bytes", "Body bytes that may be held for channels.", nil, nil)
	descWaiting     = prometheus.NewDesc("causeway_gateway_channel_waiting_requests", "Safe requests that wait for a channel to come back.", nil, nil)
	descWaited      = prometheus.NewDesc("causeway_gateway_channel_waits_total", "Safe requests that waited for a channel, by what became of them.", []string{"result"}, nil)
	descRequests    = prometheus.NewDesc("causeway_gateway_server_requests_total", "Requests for a published server.", []string{"server", "path"}, nil)
	descFailed      = prometheus.NewDesc("causeway_gateway_server_requests_failed_total", "Requests for a published server that got no complete answer, or a 5xx, by whose doing that is.", []string{"server", "path", "reason"}, nil)
	descInFlight    = prometheus.NewDesc("causeway_gateway_server_requests_in_flight", "Requests for a published server being answered.", []string{"server", "path"}, nil)
	descBytes       = prometheus.NewDesc("causeway_gateway_server_body_bytes_total", "Body bytes passed on for a published server, by direction.", []string{"server", "path", "direction"}, nil)
)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descHandshaking, descDevices, descReady, descGeneration, descIssued, descValid, descCertificate,
		descChannels, descTransports, descChannelRTT, descChannelReqs, descChannelNow, descChannelOut, descChannelSum, descChannelDial, descBulk, descStalls,
		descMemory, descBudget, descWaiting, descWaited, descRequests, descFailed, descInFlight, descBytes} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := c.s
	open, pending := s.sources.open()
	gauge(descConnections, float64(open))
	gauge(descHandshaking, float64(pending))
	gauge(descDevices, float64(s.devices.size()))
	gauge(descReady, boolGauge(s.exchanger.Ready()))
	if snap := s.snapshot.Load(); snap != nil {
		gauge(descGeneration, float64(snap.header.Generation))
		gauge(descIssued, float64(snap.header.Issued.Unix()))
		gauge(descValid, float64(snap.header.ValidUntil.Unix()))
	} else {
		gauge(descGeneration, 0)
	}
	if leaf := s.certificates.Leaf(); leaf != nil {
		gauge(descCertificate, float64(leaf.NotAfter.Unix()))
	}
	gauge(descMemory, float64(s.exchanger.MemoryUsedBytes()))
	gauge(descBudget, float64(s.exchanger.MemoryBudgetBytes()))
	room := s.exchanger.Room()
	gauge(descWaiting, float64(room.Waiting))
	count(descWaited, room.Served, "served")
	count(descWaited, room.Left, "left")
	for _, st := range s.exchanger.Status() {
		id := string(st.ConnectionPoint)
		gauge(descChannels, float64(st.Connections), id)
		for _, t := range channel.Transports {
			gauge(descTransports, float64(st.Transports[t]), id, string(t))
		}
		gauge(descChannelRTT, st.RoundTrip.Seconds(), id)
		gauge(descChannelNow, float64(st.Streams), id)
		gauge(descChannelOut, float64(st.QueuedBytes), id)
		gauge(descBulk, float64(st.BulkUsed), id, "in_use")
		gauge(descBulk, float64(st.BulkConnections-st.BulkUsed), id, "idle")
		count(descChannelReqs, st.Requests, id)
		count(descChannelSum, st.BytesOut, id, directionRequest)
		count(descChannelSum, st.BytesIn, id, directionAnswer)
		count(descChannelDial, st.Dials, id)
		count(descStalls, st.CreditStalls, id)
	}
	for _, e := range s.traffic.list() {
		n, server, path := e.counts(), string(e.key.publication), e.key.path
		count(descRequests, n.requests, server, path)
		for f := faultDevice; f < numFaults; f++ {
			count(descFailed, n.failed[f], server, path, faultNames[f])
		}
		gauge(descInFlight, float64(e.inFlight.Load()), server, path)
		count(descBytes, n.requestBytes, server, path, directionRequest)
		count(descBytes, n.answerBytes, server, path, directionAnswer)
	}
}

func boolGauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
