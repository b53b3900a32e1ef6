package console

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sort"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-gateway/causeway/internal/unixsock"
)

// scrapeTimeout bounds the wait for one role; one that hangs must not take the others' metrics with it.
const scrapeTimeout = 3 * time.Second

// maxScrapeBytes bounds what one role may make the site hold.
const maxScrapeBytes = 4 << 20

// A Target is one role's own read-only surface.
type Target struct {
	Role     string // "gateway", "connection-point", …
	Instance string
	Socket   string // unix socket
}

// Metrics answers with the metrics of all roles, each with labels that say whose it is.
type Metrics struct {
	Targets func() []Target
	Logger  *slog.Logger
}

func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	targets := m.Targets()
	scraped := make([]map[string]*dto.MetricFamily, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			families, err := scrape(r.Context(), t)
			if err != nil {
				m.log().Debug("role has no metrics to give", "role", t.Role, "instance", t.Instance, "err", err)
			}
			scraped[i] = families
		})
	}
	wg.Wait()
	all := merge(targets, scraped)
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	for _, name := range sortedNames(all) {
		if _, err := expfmt.MetricFamilyToText(w, all[name]); err != nil {
			return // the caller is gone
		}
	}
}

func (m *Metrics) log() *slog.Logger {
	if m.Logger == nil {
		return slog.Default()
	}
	return m.Logger
}

func scrape(ctx context.Context, t Target) (map[string]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	body, err := Fetch(ctx, t.Socket, "/metrics", maxScrapeBytes)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(body)
}

// Fetch asks a role's surface for a path. The answer ends after at most limit bytes.
func Fetch(ctx context.Context, socket, path string, limit int64) (io.ReadCloser, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return unixsock.Dial(ctx, socket) },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("%s answered %d", path, resp.StatusCode)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, limit), resp.Body}, nil
}

// merge labels what each role said and puts it together. up says which roles answered.
func merge(targets []Target, scraped []map[string]*dto.MetricFamily) map[string]*dto.MetricFamily {
	up := &dto.MetricFamily{
		Name: proto.String("causeway_role_up"), Type: dto.MetricType_GAUGE.Enum(),
		Help: proto.String("Whether the role's process answered when it was asked for its metrics."),
	}
	all := map[string]*dto.MetricFamily{up.GetName(): up}
	for i, t := range targets {
		value := 0.0
		if scraped[i] != nil {
			value = 1
		}
		up.Metric = append(up.Metric, label(&dto.Metric{Gauge: &dto.Gauge{Value: &value}}, t))
		for name, family := range scraped[i] {
			into := all[name]
			if into == nil {
				into = &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type}
				all[name] = into
			}
			if into == up || into.GetType() != family.GetType() {
				continue // a role cannot speak for others, nor change what a metric is
			}
			for _, metric := range family.Metric {
				into.Metric = append(into.Metric, label(metric, t))
			}
		}
	}
	return all
}

// label says whose a metric is. What the role itself wrote into these labels goes: it may be broken.
func label(m *dto.Metric, t Target) *dto.Metric {
	m.Label = slices.DeleteFunc(m.Label, func(l *dto.LabelPair) bool {
		return l.GetName() == "role" || l.GetName() == "instance"
	})
	m.Label = append(m.Label,
		&dto.LabelPair{Name: proto.String("role"), Value: proto.String(t.Role)},
		&dto.LabelPair{Name: proto.String("instance"), Value: proto.String(t.Instance)})
	sort.Slice(m.Label, func(i, j int) bool { return m.Label[i].GetName() < m.Label[j].GetName() })
	return m
}

func sortedNames(families map[string]*dto.MetricFamily) []string {
	names := make([]string, 0, len(families))
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
