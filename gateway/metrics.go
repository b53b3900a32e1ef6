package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

// metrics are the gateway's counters. Every label value comes from a closed list or from the signed configuration,
// and the counters of the request path are looked up once, at the start.
type metrics struct {
	byClass     [6]prometheus.Counter // index: status / 100
	inFlight    prometheus.Gauge
	bytesIn     prometheus.Counter
	bytesOut    prometheus.Counter
	latency     prometheus.Histogram
	refusals    *prometheus.CounterVec // code
	handshakes  *prometheus.CounterVec // result
	handshakeOK prometheus.Counter
	resumed     prometheus.Counter
	shed        *prometheus.CounterVec // limit
	aborted     prometheus.Counter
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
	m := &metrics{
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "requests_in_flight",
			Help: "Requests being answered."}),
		bytesIn: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "request_body_bytes_total",
			Help: "Bytes of request bodies passed on."}),
		bytesOut: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "answer_body_bytes_total",
			Help: "Bytes of answer bodies passed on."}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Name: "request_seconds",
			Help:    "From the end of the request head to the end of the answer, of requests passed on.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "refusals_total",
			Help: "Requests refused, by code."}, []string{"code"}),
		handshakes: handshakes,
		resumed: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "tls_resumptions_total",
			Help: "TLS handshakes that resumed a session."}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "connections_shed_total",
			Help: "Connections closed unanswered, by the limit that was reached."}, []string{"limit"}),
		aborted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "answers_aborted_total",
			Help: "Answers cut off because they could not be completed."}),
		admitted: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Name: "requests_admitted_total",
			Help: "Requests of known devices that were passed on."}),
		upgrades: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: "upgraded_connections",
			Help: "Connections that were upgraded and are open."}),
		documents: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "documents_total",
			Help: "Signed documents received, by result."}, []string{"result"}),
		channels: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: "channel_connections_total",
			Help: "Connections to the channel listener, by result."}, []string{"result"}),
	}
	for i, class := range []string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		m.byClass[i] = requests.WithLabelValues(class)
	}
	m.handshakeOK = handshakes.WithLabelValues("ok")
	for _, c := range []prometheus.Collector{requests, m.inFlight, m.bytesIn, m.bytesOut, m.latency, m.refusals, handshakes,
		m.resumed, m.shed, m.aborted, m.admitted, m.upgrades, m.documents, m.channels} {
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
		m.bytesIn.Add(float64(in))
	}
	if out > 0 {
		m.bytesOut.Add(float64(out))
	}
	m.latency.Observe(took.Seconds())
}

// A collector reads what others hold at the moment of a scrape: connections, channels, configuration, endpoints.
type collector struct{ s *Server }

var (
	descConnections = prometheus.NewDesc("causeway_gateway_connections", "Device connections open.", nil, nil)
	descHandshaking = prometheus.NewDesc("causeway_gateway_handshakes_pending", "TLS handshakes not finished.", nil, nil)
	descDevices     = prometheus.NewDesc("causeway_gateway_devices", "Devices with a connection or a limit not yet recovered.", nil, nil)
	descReady       = prometheus.NewDesc("causeway_gateway_ready", "1 while a channel takes requests.", nil, nil)
	descGeneration  = prometheus.NewDesc("causeway_gateway_document_generation", "Generation of the signed configuration in force; 0 for none.", nil, nil)
	descAge         = prometheus.NewDesc("causeway_gateway_document_age_seconds", "Time since the configuration in force was issued.", nil, nil)
	descLeft        = prometheus.NewDesc("causeway_gateway_document_valid_seconds", "Time until the configuration in force is stale; negative once it is.", nil, nil)
	descCertificate = prometheus.NewDesc("causeway_gateway_certificate_valid_seconds", "Time until the service certificate ends.", nil, nil)
	descChannels    = prometheus.NewDesc("causeway_gateway_channels", "Channel connections, by connection point.", []string{"connection_point"}, nil)
	descChannelRTT  = prometheus.NewDesc("causeway_gateway_channel_round_trip_seconds", "Last round trip, by connection point.", []string{"connection_point"}, nil)
	descChannelReqs = prometheus.NewDesc("causeway_gateway_channel_requests_total", "Requests sent, by connection point.", []string{"connection_point"}, nil)
	descEndpoint    = prometheus.NewDesc("causeway_gateway_endpoint_requests_total", "Requests, by endpoint.", []string{"publication", "path"}, nil)
	descEndpointMax = prometheus.NewDesc("causeway_gateway_endpoint_concurrent_max", "Most requests at once, by endpoint.", []string{"publication", "path"}, nil)
	descEndpointBad = prometheus.NewDesc("causeway_gateway_endpoint_failed_total", "Requests that failed, by endpoint.", []string{"publication", "path"}, nil)
	descEndpointIn  = prometheus.NewDesc("causeway_gateway_endpoint_request_bytes_total", "Request body bytes, by endpoint.", []string{"publication", "path"}, nil)
	descEndpointOut = prometheus.NewDesc("causeway_gateway_endpoint_answer_bytes_total", "Answer body bytes, by endpoint.", []string{"publication", "path"}, nil)
)

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descHandshaking, descDevices, descReady, descGeneration, descAge, descLeft, descCertificate,
		descChannels, descChannelRTT, descChannelReqs, descEndpoint, descEndpointMax, descEndpointBad, descEndpointIn, descEndpointOut} {
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
	s, now := c.s, c.s.now()
	open, pending := s.sources.open()
	gauge(descConnections, float64(open))
	gauge(descHandshaking, float64(pending))
	gauge(descDevices, float64(s.devices.size()))
	gauge(descReady, boolGauge(s.exchanger.Ready()))
	if snap := s.snapshot.Load(); snap != nil {
		gauge(descGeneration, float64(snap.header.Generation))
		gauge(descAge, now.Sub(snap.header.Issued).Seconds())
		gauge(descLeft, snap.header.ValidUntil.Sub(now).Seconds())
	} else {
		gauge(descGeneration, 0)
	}
	if leaf := s.certificates.Leaf(); leaf != nil {
		gauge(descCertificate, leaf.NotAfter.Sub(now).Seconds())
	}
	for id, st := range channelsByPoint(s.exchanger.Status()) {
		gauge(descChannels, float64(st.Connections), id)
		gauge(descChannelRTT, st.RoundTrip.Seconds(), id)
		count(descChannelReqs, st.Requests, id)
	}
	for _, e := range s.traffic.list() {
		n, p, path := e.counts(), string(e.key.publication), e.key.path
		count(descEndpoint, n.requests, p, path)
		count(descEndpointBad, n.failed, p, path)
		count(descEndpointIn, n.requestBytes, p, path)
		count(descEndpointOut, n.answerBytes, p, path)
		gauge(descEndpointMax, float64(e.maxConcurrent.Load()), p, path)
	}
}

// channelsByPoint adds up the sets of one connection point: a new one can stand beside an old one that drains.
func channelsByPoint(sets []channel.SetStatus) map[string]channel.SetStatus {
	out := make(map[string]channel.SetStatus, len(sets))
	for _, st := range sets {
		id := string(st.ConnectionPoint)
		sum := out[id]
		sum.ConnectionPoint = st.ConnectionPoint
		sum.Connections += st.Connections
		sum.Requests += st.Requests
		sum.RoundTrip = max(sum.RoundTrip, st.RoundTrip)
		out[id] = sum
	}
	return out
}

func boolGauge(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
