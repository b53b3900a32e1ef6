package cli

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/policy"
	"github.com/causeway-gateway/causeway/signed"
)

// A published is NAME=URL as a person writes it, with what may follow:
//
//	updates=https://10.0.0.5:8531,ca=/etc/ca.pem,client-cert=cp.crt,client-key=cp.key
type published struct {
	Name       causeway.ServerName
	Host       string // set: published by this host name
	URL        *url.URL
	CA         string // files
	ClientCert string
	ClientKey  string
}

const publishForm = "write it as NAME=URL, for example updates=http://10.0.0.5:8080"

// parsePublished reads the value of --publish and of server add.
func parsePublished(flag, text string) (p published, err error) {
	name, rest, ok := strings.Cut(text, "=")
	if !ok || name == "" || rest == "" {
		return p, badFlag(publishForm, "%s %q is not NAME=URL", flag, text)
	}
	if err := checkServerName(flag, name); err != nil {
		return p, err
	}
	p.Name = causeway.ServerName(name)
	return p, p.parseURL(flag, name, rest)
}

// parsePublishedHost reads the value of --publish-host. The short name is the host name with dashes for dots.
func parsePublishedHost(flag, text string) (p published, err error) {
	host, rest, ok := strings.Cut(text, "=")
	if !ok || host == "" || rest == "" {
		return p, badFlag("write it as FQDN=URL, for example apt.example.com=http://10.0.0.5:8080", "%s %q is not FQDN=URL", flag, text)
	}
	if p.Host, err = checkPublishedHost(flag, host); err != nil {
		return p, err
	}
	p.Name = causeway.ServerName(strings.ReplaceAll(p.Host, ".", "-"))
	if len(p.Name) > policy.MaxNameBytes {
		p.Name = p.Name[:policy.MaxNameBytes]
	}
	return p, p.parseURL(flag, host, rest)
}

// parseURL reads the URL and the options behind it.
func (p *published) parseURL(flag, name, text string) error {
	parts := strings.Split(text, ",")
	raw, options := parts[0], parts[1:]
	u, err := parseServerURL(flag, name, raw)
	if err != nil {
		return err
	}
	p.URL = u
	for _, o := range options {
		key, file, _ := strings.Cut(o, "=")
		target := map[string]*string{"ca": &p.CA, "client-cert": &p.ClientCert, "client-key": &p.ClientKey}[key]
		if target == nil || file == "" {
			return badFlag("what may follow the URL: ,ca=FILE ,client-cert=FILE ,client-key=FILE", "%s %s: %q is not understood", flag, name, o)
		}
		*target = file
	}
	return checkServerFiles(fmt.Sprintf("%s %s", flag, name), u, p.CA, p.ClientCert, p.ClientKey)
}

// checkServerFiles says when files are named that the URL has no use for, or a certificate comes without its key.
func checkServerFiles(what string, u *url.URL, ca, cert, key string) error {
	switch {
	case (cert == "") != (key == ""):
		return badFlag("give both the certificate and its key", "%s: a client certificate and its key come together", what)
	case u.Scheme == "http" && (ca != "" || cert != ""):
		return badFlag("write https:// in the URL, or leave the files out", "%s: certificates are of no use to an http:// server", what)
	}
	return nil
}

func parseServerURL(flag, name, raw string) (*url.URL, error) {
	if _, err := signed.ParsePlace(raw); err != nil {
		return nil, badFlag(publishForm, "%s %s: %v", flag, name, err)
	}
	return url.Parse(raw)
}

// checkServerName refuses what cannot be a server's short name, with a hint.
func checkServerName(flag, name string) error {
	if err := policy.CheckName(causeway.ServerName(name)); err != nil {
		return badFlag("a name has 1 to 63 of a-z, 0-9, '-', '_' and '.', starts with a letter or digit, and is not one of ConfigMgr's own, such as ccm_…",
			"%s: name %v", flag, err)
	}
	return nil
}

// checkPublishedHost returns a name by which devices find a server, in lower case.
func checkPublishedHost(flag, name string) (string, error) {
	host, err := checkHostName(flag, name)
	if err == nil && !strings.Contains(host, ".") {
		return "", badFlag("give the whole name, such as apt.example.com", "%s: %q is no name that devices on the internet can find", flag, name)
	}
	return host, err
}

// checkHostName returns a DNS name in lower case.
func checkHostName(flag, name string) (string, error) {
	const form = "give a host name such as gateway.example.com"
	lower := strings.ToLower(name)
	if _, err := netip.ParseAddr(name); err == nil {
		return "", badFlag(form, "%s: %q is an address, not a host name", flag, name)
	}
	if len(lower) > 253 || strings.HasSuffix(lower, ".") {
		return "", badFlag(form, "%s: %q is not a host name", flag, name)
	}
	for label := range strings.SplitSeq(lower, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", badFlag(form, "%s: %q is not a host name", flag, name)
		}
	}
	return lower, nil
}
