package storage

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-gateway/causeway/fabric/state"
)

// maxPage is how much one answer lists.
const maxPage = 5000

// A listing is what a client asks of a list.
type listing struct {
	prefix, delimiter, from string
	most                    int
	include                 map[string]bool
}

func (q *request) listing(known ...string) (l listing, err error) {
	l = listing{prefix: q.query["prefix"], delimiter: q.query["delimiter"], most: maxPage, include: make(map[string]bool)}
	if text, ok := q.query["maxresults"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return l, refuse(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range: maxresults.")
		}
		l.most = page(n, maxPage)
	}
	if marker := q.query["marker"]; marker != "" {
		from, err := base64.RawURLEncoding.DecodeString(marker)
		if err != nil || !utf8.Valid(from) {
			return l, errParameter("marker")
		}
		l.from = string(from)
	}
	for _, text := range []string{l.prefix, l.delimiter} {
		if len(text) > 4*maxBlobName || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			return l, errParameter("prefix")
		}
	}
	if text := q.query["include"]; text != "" {
		for name := range strings.SplitSeq(text, ",") {
			if !slices.Contains(known, name) {
				return l, errParameter("include")
			}
			l.include[name] = true
		}
	}
	return l, nil
}

// marker is where the next page begins. It is opaque to clients, and nothing but a name.
func marker(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// xmlMetadata is an element for each of the metadata.
type xmlMetadata map[string]string

func (m xmlMetadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := e.EncodeElement(m[name], xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// enumeration is the document that a list is answered in.
type enumeration struct {
	XMLName         xml.Name `xml:"EnumerationResults"`
	ServiceEndpoint string   `xml:",attr"`
	ContainerName   string   `xml:",attr,omitempty"`
	Prefix          string   `xml:",omitempty"`
	Marker          string   `xml:",omitempty"`
	MaxResults      int
	Delimiter       string         `xml:",omitempty"`
	Containers      *xmlContainers `xml:",omitempty"`
	Blobs           *xmlBlobs      `xml:",omitempty"`
	NextMarker      string
}

type xmlContainers struct{ Container []xmlContainer }

type xmlContainer struct {
	Name       string
	Properties struct {
		LastModified          string `xml:"Last-Modified"`
		Etag                  string
		LeaseStatus           string
		LeaseState            string
		PublicAccess          string `xml:",omitempty"`
		HasImmutabilityPolicy bool
		HasLegalHold          bool
	}
	Metadata xmlMetadata `xml:",omitempty"`
}

type xmlBlobs struct {
	Items []any `xml:",any"` // xmlBlob and xmlPrefix, by name
}

type xmlPrefix struct {
	XMLName xml.Name `xml:"BlobPrefix"`
	Name    string
}

type xmlListed struct {
	XMLName    xml.Name `xml:"Blob"`
	Name       string
	Properties xmlProperties
	Metadata   xmlMetadata `xml:",omitempty"`
}

type xmlProperties struct {
	CreationTime       string `xml:"Creation-Time"`
	LastModified       string `xml:"Last-Modified"`
	Etag               string
	ContentLength      int64  `xml:"Content-Length"`
	ContentType        string `xml:"Content-Type"`
	ContentEncoding    string `xml:"Content-Encoding"`
	ContentLanguage    string `xml:"Content-Language"`
	ContentMD5         string `xml:"Content-MD5"`
	CacheControl       string `xml:"Cache-Control"`
	ContentDisposition string `xml:"Content-Disposition"`
	BlobType           string
	AccessTier         string
	AccessTierInferred bool
	LeaseStatus        string
	LeaseState         string
	LeaseDuration      string `xml:",omitempty"`
	ServerEncrypted    bool
	CopyID             string `xml:"CopyId,omitempty"`
	CopyStatus         string `xml:",omitempty"`
	CopySource         string `xml:",omitempty"`
	CopyProgress       string `xml:",omitempty"`
	CopyCompletionTime string `xml:",omitempty"`
}

// listContainers lists the account's containers.
func (s *Service) listContainers(q *request) error {
	if err := q.permit(need{action: containerActions + "read", kind: 's', perms: "l"}); err != nil {
		return err
	}
	l, err := q.listing("metadata", "deleted", "system")
	if err != nil {
		return err
	}
	answer := enumeration{ServiceEndpoint: q.url(), Prefix: l.prefix, Marker: q.query["marker"], MaxResults: l.most, Containers: new(xmlContainers)}
	err = s.State.View(q.r.Context(), func(tx *state.Tx) error {
		return eachContainer(tx, q.account.ID, max(l.prefix, l.from), func(c *container) (bool, error) {
			switch {
			case !strings.HasPrefix(c.Name, l.prefix):
				return false, nil
			case len(answer.Containers.Container) == l.most:
				answer.NextMarker = marker(c.Name)
				return false, nil
			}
			answer.Containers.Container = append(answer.Containers.Container, c.listed(l.include["metadata"]))
			return true, nil
		})
	})
	if err != nil {
		return err
	}
	return q.writeXML(answer)
}

func (c *container) listed(metadata bool) (x xmlContainer) {
	x.Name = c.Name
	p := &x.Properties
	p.LastModified, p.Etag = c.Modified.UTC().Format(http.TimeFormat), `"`+c.etag()+`"`
	p.LeaseStatus, p.LeaseState, p.PublicAccess = "unlocked", available, c.Public
	if metadata {
		x.Metadata = c.Meta
	}
	return x
}

// listBlobs lists a container's blobs. What lies below a delimiter is listed as one prefix.
func (s *Service) listBlobs(q *request) error {
	if err := q.permit(need{action: blobActions + "read", data: true, kind: 'c', service: true, perms: "l", public: "container"}); err != nil {
		return err
	}
	l, err := q.listing("metadata", "copy", "snapshots", "deleted", "tags", "versions", "immutabilitypolicy", "legalhold", "permissions", "deletedwithversions")
	if err != nil {
		return err
	}
	answer := enumeration{ServiceEndpoint: q.url(), ContainerName: q.container, Prefix: l.prefix, Marker: q.query["marker"], MaxResults: l.most, Delimiter: l.delimiter}
	err = s.State.View(q.r.Context(), func(tx *state.Tx) error {
		c, err := getContainer(tx, q.account, q.container)
		if err != nil {
			return err
		}
		answer.Blobs, answer.NextMarker, err = s.walk(tx, c, l)
		return err
	})
	if err != nil {
		return err
	}
	return q.writeXML(answer)
}

// maxSkip is how many names a walk passes over one by one before it looks for what comes after them.
const maxSkip = 256

// walk collects a page of a container, and where the next one begins.
func (s *Service) walk(tx *state.Tx, c *container, l listing) (blobs *xmlBlobs, next string, err error) {
	blobs = new(xmlBlobs)
	group, skipped := "", 0 // the last one listed
	for from, more := max(l.prefix, l.from), true; more; {
		more = false
		for e, err := range tx.Scan(blobBucket, c.ID+"/"+l.prefix, c.ID+"/"+from) {
			if err != nil {
				return nil, "", err
			}
			name := strings.TrimPrefix(e.Key, c.ID+"/")
			if group != "" && strings.HasPrefix(name, group) {
				if skipped++; skipped > maxSkip {
					from, more = after(group), true
					break
				}
				continue
			}
			if len(blobs.Items) == l.most {
				return blobs, marker(name), nil
			}
			var ok bool
			if group, ok = l.group(name); ok {
				skipped, blobs.Items = 0, append(blobs.Items, xmlPrefix{Name: group})
				continue
			}
			x, err := s.listed(e, name, l.include)
			if err != nil {
				return nil, "", err
			}
			blobs.Items = append(blobs.Items, x)
		}
	}
	return blobs, "", nil
}

// group returns the prefix that a name is listed under, if there is a delimiter after the asked prefix.
func (l listing) group(name string) (string, bool) {
	if l.delimiter == "" {
		return "", false
	}
	rest := name[len(l.prefix):]
	i := strings.Index(rest, l.delimiter)
	if i < 0 {
		return "", false
	}
	return name[:len(l.prefix)+i+len(l.delimiter)], true
}

// after is the least text that comes after all that begin with a prefix. No byte of UTF-8 is 0xff.
func after(prefix string) string {
	last := len(prefix) - 1
	return prefix[:last] + string([]byte{prefix[last] + 1})
}

func (s *Service) listed(e state.Entry, name string, include map[string]bool) (x xmlListed, err error) {
	var b blob
	if err := decode(e, &b); err != nil {
		return x, err
	}
	leaseState := b.Lease.state(s.Now())
	x = xmlListed{Name: name, Properties: xmlProperties{CreationTime: b.Created.UTC().Format(http.TimeFormat), LastModified: b.Modified.UTC().Format(http.TimeFormat), Etag: b.etag(),
		ContentLength: b.Size, ContentType: b.Headers["Content-Type"], ContentEncoding: b.Headers["Content-Encoding"], ContentLanguage: b.Headers["Content-Language"],
		ContentMD5: base64.StdEncoding.EncodeToString(b.MD5), CacheControl: b.Headers["Cache-Control"], ContentDisposition: b.Headers["Content-Disposition"],
		BlobType: "BlockBlob", AccessTier: "Hot", AccessTierInferred: true, LeaseState: leaseState, LeaseStatus: leaseStatus(leaseState), ServerEncrypted: true}}
	if leaseState == leased {
		x.Properties.LeaseDuration = b.Lease.kind()
	}
	if include["metadata"] {
		x.Metadata = b.Meta
	}
	if b.Copy != nil && include["copy"] {
		size := strconv.FormatInt(b.Size, 10)
		p := &x.Properties
		p.CopyID, p.CopyStatus, p.CopySource, p.CopyProgress, p.CopyCompletionTime = b.Copy.ID, "success", b.Copy.Source, size+"/"+size, b.Copy.Completed.UTC().Format(http.TimeFormat)
	}
	return x, nil
}
