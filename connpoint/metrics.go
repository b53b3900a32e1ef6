package connpoint

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causeway-gateway/causeway/channel"
)

// Values of the label direction, the same as a gateway's.
const (
	directionRequest = "request"
	directionAnswer  = "answer"
)

var (
	descConnected = prometheus.NewDesc("causeway_connpoint_channel_connections", "Live connections to a gateway instance.", []string{"gateway", "slot"}, nil)
	descWanted    = prometheus.NewDesc("causeway_connpoint_channel_connections_wanted", "Connections there should be to a gateway instance.", []string{"gateway", "slot"}, nil)
	descRedials   = prometheus.NewDesc("causeway_connpoint_channel_redials_total", "Times a connection to a gateway instance was lost or not made.", []string{"gateway", "slot"}, nil)
	descTransport = prometheus.NewDesc("causeway_connpoint_channel_transport", "1 for the transport by which a gateway instance is reached, 0 for the others.", []string{"gateway", "slot", "transport"}, nil)
	descProxied   = prometheus.NewDesc("causeway_connpoint_channel_proxied", "1 while a gateway instance is reached through a proxy.", []string{"gateway", "slot"}, nil)
	descRoundTrip = prometheus.NewDesc("causeway_connpoint_channel_round_trip_seconds", "Last round trip to a gateway instance, the longest of its connections.", []string{"gateway", "slot"}, nil)
	descStreams   = prometheus.NewDesc("causeway_connpoint_channel_streams", "Requests of a gateway instance under way.", []string{"gateway", "slot"}, nil)
	descMost      = prometheus.NewDesc("causeway_connpoint_channel_max_in_flight", "Requests taken from each gateway instance at a time; 0 for any number.", nil, nil)
	descQueued    = prometheus.NewDesc("causeway_connpoint_channel_queued_bytes", "Output to a gateway instance that waits behind what is being written.", []string{"gateway", "slot"}, nil)
	descCarried   = prometheus.NewDesc("causeway_connpoint_channel_requests_total", "Requests that came from a gateway instance.", []string{"gateway", "slot"}, nil)
	descChannel   = prometheus.NewDesc("causeway_connpoint_channel_bytes_total", "Bytes of frames to and from a gateway instance, without its bulk connections, by direction.", []string{"gateway", "slot", "direction"}, nil)
	descStalls    = prometheus.NewDesc("causeway_connpoint_channel_credit_stalls_total", "Times a body waited for the other side of a channel.", []string{"gateway", "slot"}, nil)
	descBulk      = prometheus.NewDesc("causeway_connpoint_channel_bulk_connections", "Connections to a gateway instance for large bodies.", []string{"gateway", "slot", "state"}, nil)
	descMoved     = prometheus.NewDesc("causeway_connpoint_channel_bulk_bodies_total", "Large bodies that moved to a connection of their own.", []string{"gateway", "slot"}, nil)
	descRequests  = prometheus.NewDesc("causeway_connpoint_server_requests_total", "Requests carried to a published server.", []string{"server"}, nil)
	descFailed    = prometheus.NewDesc("causeway_connpoint_server_requests_failed_total", "Requests that got no complete answer from a published server.", []string{"server"}, nil)
	descInFlight  = prometheus.NewDesc("causeway_connpoint_server_requests_in_flight", "Requests at a published server right now.", []string{"server"}, nil)
	descBytes     = prometheus.NewDesc("causeway_connpoint_server_body_bytes_total", "Body bytes carried to and from a published server, by direction.", []string{"server", "direction"}, nil)
	descServer    = prometheus.NewDesc("causeway_connpoint_server_connections", "Connections to a published server.", []string{"server", "state"}, nil)
	descReachable = prometheus.NewDesc("causeway_connpoint_server_reachable", "0 while dials to a published server fail in a row.", []string{"server"}, nil)
	descDocument  = prometheus.NewDesc("causeway_connpoint_document_generation", "Generation of the signed document in force.", nil, nil)
	descIssued    = prometheus.NewDesc("causeway_connpoint_document_issued_timestamp_seconds", "When the document in force was issued, in Unix time.", nil, nil)
	descValid     = prometheus.NewDesc("causeway_connpoint_document_valid_until_timestamp_seconds", "When the document in force is stale, in Unix time.", nil, nil)
	descExpiry    = prometheus.NewDesc("causeway_connpoint_certificate_not_after_timestamp_seconds", "When the role certificate ends, in Unix time.", nil, nil)
	descMemory    = prometheus.NewDesc("causeway_connpoint_channel_memory_used_bytes", "Body bytes held for channels.", nil, nil)
	descBudget    = prometheus.NewDesc("causeway_connpoint_channel_memory_budget_bytes", "Body bytes that may be held for channels.", nil, nil)
)

// A collector reads the agent when it is asked. Its labels come from signed documents, so there are few.
type collector struct{ agent *Agent }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnected, descWanted, descRedials, descTransport, descProxied, descRoundTrip, descStreams, descMost, descQueued, descCarried,
		descChannel, descStalls, descBulk, descMoved, descRequests, descFailed, descInFlight, descBytes,
		descServer, descReachable, descDocument, descIssued, descValid, descExpiry, descMemory, descBudget} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for _, s := range c.agent.state.channels.status() {
		gateway, slot := string(s.Gateway), strconv.Itoa(int(s.Slot))
		gauge(descConnected, float64(s.Connected), gateway, slot)
		gauge(descWanted, float64(s.Wanted), gateway, slot)
		counter(descRedials, float64(s.Redials), gateway, slot)
		for _, t := range channel.Transports {
			inUse := 0.0
			if t == s.Transport {
				inUse = 1
			}
			gauge(descTransport, inUse, gateway, slot, string(t))
		}
		proxied := 0.0
		if s.Connected > 0 && s.Proxy != "" {
			proxied = 1
		}
		gauge(descProxied, proxied, gateway, slot)
		gauge(descRoundTrip, s.RoundTrip.Seconds(), gateway, slot)
		gauge(descStreams, float64(s.Streams), gateway, slot)
		gauge(descQueued, float64(s.QueuedBytes), gateway, slot)
		counter(descCarried, float64(s.Requests), gateway, slot)
		counter(descChannel, float64(s.BytesIn), gateway, slot, directionRequest)
		counter(descChannel, float64(s.BytesOut), gateway, slot, directionAnswer)
		counter(descStalls, float64(s.CreditStalls), gateway, slot)
		gauge(descBulk, float64(s.Bulk.Used), gateway, slot, "in_use")
		gauge(descBulk, float64(s.Bulk.Idle), gateway, slot, "idle")
		counter(descMoved, float64(s.Bulk.Moved), gateway, slot)
	}
	for _, t := range c.agent.state.inside.counts.endpoints() {
		name := string(t.name)
		counter(descRequests, float64(t.total.Load()), name)
		counter(descFailed, float64(t.failed.Load()), name)
		gauge(descInFlight, float64(t.now.Load()), name)
		counter(descBytes, float64(t.in.Load()), name, directionRequest)
		counter(descBytes, float64(t.out.Load()), name, directionAnswer)
	}
	gauge(descMost, float64(c.agent.MaxInFlight))
	gauge(descMemory, float64(c.agent.state.channels.memory.UsedBytes()))
	gauge(descBudget, float64(c.agent.state.channels.memory.LimitBytes()))
	if cert, _ := c.agent.state.certs.state(); cert != nil {
		gauge(descExpiry, float64(cert.Leaf.NotAfter.Unix()))
	}
	cfg := c.agent.state.inside.config.Load()
	if cfg == nil {
		return
	}
	gauge(descDocument, float64(cfg.header.Generation))
	gauge(descIssued, float64(cfg.header.Issued.Unix()))
	gauge(descValid, float64(cfg.header.ValidUntil.Unix()))
	for _, t := range cfg.targets {
		s := t.status()
		gauge(descServer, float64(s.Open-s.Idle), string(s.Name), "in_use")
		gauge(descServer, float64(s.Idle), string(s.Name), "idle")
		reachable := 1.0
		if s.Failures >= circuitFailures { // one dial that failed is nothing to be woken for
			reachable = 0
		}
		gauge(descReachable, reachable, string(s.Name))
	}
}
