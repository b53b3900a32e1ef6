package storage

import (
	"net/http"
	"slices"
	"strings"
)

// nameBlob reads the container and the blob in the path.
func nameBlob(q *request) error {
	q.container, q.blob, _ = strings.Cut(q.path, "/")
	if q.container == "" {
		if q.path != "" {
			return refuse(http.StatusBadRequest, "InvalidUri", "The requested URI does not represent any resource on the server.")
		}
		return nil
	}
	if err := CheckContainerName(q.container); err != nil {
		return err
	}
	return checkBlobName(q.blob)
}

// routeBlob finds what a request of the blob plane is about.
func (s *Service) routeBlob(q *request) error {
	switch {
	case q.container == "":
		return s.serveAccount(q)
	case q.blob == "" && q.query["restype"] == "container":
		return s.serveContainer(q)
	case q.blob == "":
		return refuse(http.StatusNotFound, "ResourceNotFound", "The specified resource does not exist.")
	case q.query["restype"] != "":
		return errOperation(q, q.r.Method)
	}
	return s.serveBlob(q)
}

// serveAccount answers requests for the account as a whole.
func (s *Service) serveAccount(q *request) error {
	switch op := q.r.Method + " " + q.query["restype"] + " " + q.query["comp"]; op {
	case "GET  list":
		return s.listContainers(q)
	case "POST service userdelegationkey":
		return s.issueDelegation(q)
	case "GET account properties", "HEAD account properties":
		return s.showAccount(q)
	default:
		return errOperation(q, "GET", "HEAD", "POST")
	}
}

func (s *Service) showAccount(q *request) error {
	if err := q.permit(need{action: containerActions + "read", kind: 's', perms: "rl"}); err != nil {
		return err
	}
	q.w.Header().Set("x-ms-sku-name", "Standard_LRS")
	q.w.Header().Set("x-ms-account-kind", "StorageV2")
	q.w.Header().Set("x-ms-is-hns-enabled", "false")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// serveContainer answers requests for a container.
func (s *Service) serveContainer(q *request) error {
	switch op := q.r.Method + " " + q.query["comp"]; op {
	case "PUT ":
		return s.putContainer(q)
	case "GET ", "HEAD ", "GET metadata", "HEAD metadata":
		return s.showContainer(q)
	case "PUT metadata":
		return s.setContainerMetadata(q)
	case "DELETE ":
		return s.dropContainer(q)
	case "GET list":
		return s.listBlobs(q)
	default:
		return errOperation(q, "PUT", "GET", "HEAD", "DELETE")
	}
}

func (s *Service) serveBlob(q *request) error {
	for _, name := range []string{"snapshot", "versionid"} {
		if _, ok := q.query[name]; ok {
			return errOperation(q, q.r.Method)
		}
	}
	switch op := q.r.Method + " " + q.query["comp"]; op {
	case "GET ", "HEAD ":
		return s.getBlob(q)
	case "GET metadata", "HEAD metadata":
		return s.showBlob(q)
	case "PUT ":
		if q.r.Header.Get("x-ms-copy-source") != "" {
			return s.copyBlob(q)
		}
		return s.putBlob(q)
	case "PUT block":
		return s.putBlock(q)
	case "PUT blocklist":
		return s.putBlockList(q)
	case "GET blocklist":
		return s.getBlockList(q)
	case "PUT metadata":
		return s.setMetadata(q)
	case "PUT properties":
		return s.setProperties(q)
	case "PUT lease":
		return s.leaseBlob(q)
	case "DELETE ":
		return s.deleteBlob(q)
	default:
		return errOperation(q, "GET", "HEAD", "PUT", "DELETE")
	}
}

// errOperation says that there is no such operation: not the method, or not what the query asks for.
func errOperation(q *request, methods ...string) error {
	if !slices.Contains(methods, q.r.Method) {
		return refuse(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "The resource doesn't support the specified HTTP verb.")
	}
	return refuse(http.StatusBadRequest, "UnsupportedQueryParameter", "One of the query parameters specified in the request URI is not supported.")
}
