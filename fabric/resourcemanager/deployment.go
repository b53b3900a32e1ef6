package resourcemanager

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
	"github.com/causeway-gateway/causeway/fabric/state"
	"github.com/causeway-gateway/causeway/fabric/template"
)

const deploymentType = "Microsoft.Resources/deployments"

// A deployment is one as it is shown. What it was asked for with lies sealed beside it, since parameters can be secret.
type deployment struct {
	Path       string           `json:"id"`
	Location   string           `json:"location,omitempty"`
	Tags       *document.Object `json:"tags,omitempty"`
	State      string           `json:"provisioningState"`
	Hash       string           `json:"templateHash"`
	Parameters *document.Object `json:"parameters"`
	Outputs    *document.Object `json:"outputs,omitempty"`
	Resources  []string         `json:"outputResources,omitempty"`
	Error      *azure.Error     `json:"error,omitempty"`
	Started    time.Time        `json:"started"`
	Ended      time.Time        `json:"ended,omitzero"`
	Caused     string           `json:"caused"`
	Operation  string           `json:"operation"`       // id of the latest
	Above      []string         `json:"above,omitempty"` // ids of the deployments that it is nested in
	Run        string           `json:"run,omitempty"`   // id of the operation that the innermost of them ran by
}

// An order is what a deployment was asked for with. It is kept until the deployment has ended, and its template after
// that for who exports it.
type order struct {
	Template   *document.Object `json:"template"`
	Parameters *document.Object `json:"parameters"`
	Now        time.Time        `json:"now"`                 // for utcNow
	Seed       string           `json:"seed"`                // for newGuid: the same when it is expanded again
	Evaluated  bool             `json:"evaluated,omitempty"` // the template is part of another, which put its values into it, secret ones, too
}

func (d *deployment) show() *document.Object {
	id, _ := azure.ParseID(d.Path) // it was checked
	until := d.Ended
	if until.IsZero() {
		until = d.Started
	}
	properties := document.NewObject("templateHash", d.Hash, "parameters", d.Parameters, "mode", "Incremental", "provisioningState", d.State, "timestamp", until.Format(timeForm),
		"duration", duration(until.Sub(d.Started)), "correlationId", d.Caused, "providers", []any{}, "dependencies", []any{})
	if d.Outputs != nil {
		properties.Set("outputs", d.Outputs)
	}
	var resources []any
	for _, r := range d.Resources {
		resources = append(resources, document.NewObject("id", r))
	}
	if resources != nil {
		properties.Set("outputResources", resources)
	}
	if d.Error != nil {
		properties.Set("error", errorObject(d.Error))
	}
	out := document.NewObject("id", d.Path, "name", id.Name(), "type", deploymentType)
	if d.Location != "" {
		out.Set("location", d.Location)
	}
	if d.Tags != nil {
		out.Set("tags", d.Tags)
	}
	out.Set("properties", properties)
	return out
}

// duration is one as ISO 8601 has it.
func duration(d time.Duration) string {
	return fmt.Sprintf("PT%gS", d.Round(time.Microsecond).Seconds())
}

func errorObject(e *azure.Error) *document.Object {
	out := document.NewObject("code", e.Code, "message", e.Message)
	if e.Target != "" {
		out.Set("target", e.Target)
	}
	var details []any
	for _, d := range e.Details {
		details = append(details, errorObject(d))
	}
	if details != nil {
		out.Set("details", details)
	}
	return out
}

var deploymentName = regexp.MustCompile(`^[-\w._()]{1,64}$`)

// readOrder reads the body of a deployment's request.
func (q *request) readOrder() (d deployment, o order, err error) {
	body, err := q.objectBy(document.ParseLenient) // az sends the text of a template's file, which is not quite JSON
	if err != nil {
		return d, o, err
	}
	d, o, err = q.s.orderOf(q.id, body)
	d.Caused = q.correlation
	return d, o, err
}

// orderOf reads what a deployment is asked for with, from a request or from a template that it is nested in.
func (s *Service) orderOf(id azure.ID, body *document.Object) (d deployment, o order, err error) {
	invalid := func(format string, args ...any) error {
		return azure.Errorf(http.StatusBadRequest, "InvalidDeployment", format, args...)
	}
	properties := body.Object("properties")
	o = order{Template: properties.Object("template"), Parameters: properties.Object("parameters"), Now: s.cfg.Now().UTC(), Seed: azure.NewGUID()}
	d = deployment{Path: id.String(), Tags: body.Object("tags"), State: "Accepted", Started: o.Now}
	switch mode := properties.String("mode"); {
	case !deploymentName.MatchString(id.Name()):
		return d, o, invalid("The deployment name '%.80s' is not valid. It has 1 to 64 letters, digits, underscores, parentheses, hyphens and dots.", id.Name())
	case strings.EqualFold(mode, "Complete"):
		return d, o, azure.Errorf(http.StatusBadRequest, "InvalidDeploymentMode", "The mode 'Complete' deletes what a template does not have, and is not offered here. Use 'Incremental'.")
	case mode != "" && !strings.EqualFold(mode, "Incremental"):
		return d, o, azure.Errorf(http.StatusBadRequest, "InvalidDeploymentMode", "The mode '%.40s' is not valid. Use 'Incremental'.", mode)
	case properties.Has("templateLink") || properties.Has("parametersLink"):
		return d, o, azure.Errorf(http.StatusBadRequest, "TemplateLinkNotSupported", "This fabric fetches nothing from the internet: give the template and its parameters in the request.")
	case o.Template == nil:
		return d, o, invalid("The deployment has no template.")
	}
	if id.ResourceGroup() == "" {
		name, known := s.location(body.String("location"))
		if !known {
			return d, o, azure.Errorf(http.StatusBadRequest, "LocationRequired", "A deployment at the scope of a subscription has a 'location', which is one of '%s'.", s.locationNames())
		}
		d.Location = name
	} else if body.String("location") != "" {
		return d, o, invalid("The 'location' property is not allowed for '%s' at resource group scope. Please see https://aka.ms/deploy-to-subscription for usage details.", id.Name())
	}
	for name, v := range o.Parameters.All() {
		if p, _ := v.(*document.Object); p.Has("reference") {
			return d, o, azure.Errorf(http.StatusBadRequest, "ParameterReferenceNotSupported", "The parameter '%s' is a reference to a secret of a vault, which this fabric does not resolve. Give its value.", name)
		}
	}
	return d, o, checkTags(body)
}

// expand makes the plan of an order.
func (s *Service) expand(ctx context.Context, id azure.ID, o *order, who azure.Principal) (*template.Plan, error) {
	sub, _ := s.subscription(id.Subscription())
	request := template.Request{Template: o.Template, Parameters: o.Parameters, Scope: id.Group(), Now: o.Now, NewGUID: seeded(o.Seed),
		Tenant:       document.NewObject("tenantId", s.cfg.Tenant, "displayName", s.cfg.TenantName, "id", "/tenants/"+s.cfg.Tenant, "countryCode", ""),
		Subscription: s.showSubscription(sub),
		Deployment: document.NewObject("name", id.Name(), "properties", document.NewObject("template", o.Template, "templateHash", "", "parameters", orEmpty(o.Parameters), "mode", "Incremental",
			"provisioningState", "Accepted")),
		Environment: s.environment(), Deployer: document.NewObject("tenantId", s.cfg.Tenant, "objectId", who.Object),
		Providers: s.providersFunction, Zones: func(string, string, string) ([]string, bool) { return []string{"1", "2", "3"}, true }}
	if id.ResourceGroup() != "" {
		g, err := s.group(ctx, id.Group())
		if err != nil {
			return nil, err
		}
		request.ResourceGroup = g.show()
	}
	return template.Expand(request)
}

func orEmpty(o *document.Object) *document.Object {
	if o == nil {
		return &document.Object{}
	}
	return o
}

// environment is what environment() returns.
func (s *Service) environment() *document.Object {
	return document.NewObject("name", "Causeway", "resourceManager", s.cfg.URL+"/", "portal", "", "authentication",
		document.NewObject("loginEndpoint", s.cfg.Login+"/", "audiences", []any{s.cfg.URL + "/"}, "tenant", s.cfg.Tenant, "identityProvider", "AAD"),
		"suffixes", &document.Object{})
}

// providersFunction is what providers() returns.
func (s *Service) providersFunction(namespace, name string) (*document.Object, bool) {
	k, known := s.kindOf(namespace + "/" + name)
	if !known {
		return nil, false
	}
	versions := make([]any, len(k.Versions))
	for i, v := range k.Versions {
		versions[i] = v
	}
	return document.NewObject("resourceType", k.Name, "locations", []any{}, "apiVersions", versions), true
}

// deploymentOf reads a deployment.
func (s *Service) deploymentOf(ctx context.Context, id azure.ID) (d deployment, err error) {
	err = s.cfg.State.View(ctx, func(tx *state.Tx) error {
		known, err := tx.Get(deploymentBucket, id.Key(), &d)
		if err == nil && !known {
			err = azure.Errorf(http.StatusNotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
		}
		return err
	})
	return d, err
}

func (s *Service) changeDeployment(ctx context.Context, id azure.ID, change func(*deployment)) error {
	return s.cfg.State.Update(ctx, func(tx *state.Tx) error {
		var d deployment
		if known, err := tx.Get(deploymentBucket, id.Key(), &d); err != nil || !known {
			return err
		}
		change(&d)
		return tx.Put(deploymentBucket, id.Key(), d)
	})
}

// deployments serves what lies at .../providers/Microsoft.Resources/deployments.
func (q *request) deployments(scope int, rest []string) (*answer, error) {
	at, err := q.idOf(scope)
	if err != nil {
		return nil, err
	}
	if len(rest) == 1 {
		return q.listDeployments(at)
	}
	if q.id, err = q.idOf(scope + 4); err != nil {
		return nil, err
	}
	what := strings.ToLower(strings.Join(rest[2:], "/"))
	if len(rest) == 4 {
		what = strings.ToLower(rest[2]) + "/{}"
	}
	for _, r := range deploymentRoutes {
		if r.method != q.Method || r.path != what {
			continue
		}
		if err := q.s.permit(q.who, deploymentType+r.action, q.id); err != nil {
			return nil, err
		}
		q.args = rest
		return r.do(q)
	}
	return nil, q.noRoute(false)
}

var deploymentRoutes = []route{
	{"PUT", "", 0, "/write", putDeployment},
	{"GET", "", 0, "/read", getDeployment},
	{"HEAD", "", 0, "/read", headDeployment},
	{"DELETE", "", 0, "/delete", deleteDeployment},
	{"POST", "validate", 0, "/validate/action", validateDeployment},
	{"POST", "whatif", 0, "/whatIf/action", whatIf},
	{"POST", "cancel", 0, "/cancel/action", cancelDeployment},
	{"POST", "exporttemplate", 0, "/exportTemplate/action", exportTemplate},
	{"GET", "operations", 0, "/operations/read", listSteps},
	{"GET", "operations/{}", 0, "/operations/read", getStep},
	{"GET", "operationstatuses/{}", 0, "/operationstatuses/read", deploymentStatus},
}

func (q *request) listDeployments(at azure.ID) (*answer, error) {
	if q.Method != http.MethodGet {
		return nil, q.noRoute(true)
	}
	if err := q.s.permit(q.who, deploymentType+"/read", at); err != nil {
		return nil, err
	}
	if err := q.s.exists(q.Context(), at); err != nil {
		return nil, err
	}
	terms, err := equalities(q.URL.Query().Get("$filter"), "provisioningState")
	if err != nil {
		return nil, err
	}
	var all []any
	err = q.s.cfg.State.View(q.Context(), func(tx *state.Tx) error {
		for e, err := range tx.Scan(deploymentBucket, at.Key()+"/providers/", "") {
			var d deployment
			if err == nil {
				_, err = tx.Get(deploymentBucket, e.Key, &d)
			}
			if err != nil {
				return err
			}
			if want := terms["provisioningstate"]; want == "" || strings.EqualFold(want, d.State) {
				all = append(all, d.show())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return q.page(all)
}

func getDeployment(q *request) (*answer, error) {
	d, err := q.s.deploymentOf(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	return ok(d.show()), nil
}

func headDeployment(q *request) (*answer, error) {
	if _, err := q.s.deploymentOf(q.Context(), q.id); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

// putDeployment starts a deployment.
func putDeployment(q *request) (*answer, error) {
	d, order, err := q.readOrder()
	if err != nil {
		return nil, err
	}
	o, err := q.s.deploy(q.Context(), q.caller, q.id, d, order)
	if err != nil {
		return nil, err
	}
	if d, err = q.s.deploymentOf(q.Context(), q.id); err != nil {
		return nil, err
	}
	q.writer.Header().Set("Azure-AsyncOperation", q.base()+q.URL.Path+"/operationStatuses/"+o.ID+"?api-version="+q.version)
	q.again()
	return &answer{http.StatusCreated, d.show()}, nil
}

// deploymentStatus is what Azure-AsyncOperation of a deployment leads to.
func deploymentStatus(q *request) (*answer, error) {
	d, err := q.s.deploymentOf(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(d.Operation, q.args[3]) || q.s.cfg.Hostile.Lost(d.Operation) {
		return nil, azure.Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%.80s' could not be found.", q.args[3])
	}
	out := document.NewObject("status", d.State)
	switch {
	case d.Error != nil:
		out.Set("error", errorObject(d.Error))
	case d.Ended.IsZero():
		q.again()
	}
	return ok(out), nil
}

// deleteDeployment forgets a deployment; what it has made stays.
func deleteDeployment(q *request) (*answer, error) {
	d, err := q.s.deploymentOf(q.Context(), q.id)
	if azure.AsError(err).Code == "DeploymentNotFound" && err != nil {
		return &answer{status: http.StatusNoContent}, nil
	}
	if err != nil {
		return nil, err
	}
	if d.Ended.IsZero() {
		return nil, azure.Errorf(http.StatusConflict, "DeploymentActive", "The deployment '%s' is still running and cannot be deleted. Cancel it first.", q.id.Name())
	}
	if err := q.s.unlocked(q.id, true); err != nil {
		return nil, err
	}
	err = q.s.cfg.State.Update(q.Context(), func(tx *state.Tx) error {
		if err := q.s.note(tx, q.did("delete", q.id)); err != nil {
			return err
		}
		return forgetDeployment(tx, q.id.Key())
	})
	return &answer{status: http.StatusNoContent}, err
}

func forgetDeployment(tx *state.Tx, key string) error {
	if err := tx.DeletePrefix(stepBucket, key+"/operations/"); err != nil {
		return err
	}
	if _, err := tx.Delete(orderBucket, key); err != nil {
		return err
	}
	_, err := tx.Delete(deploymentBucket, key)
	return err
}

// cancelDeployment starts nothing more of a deployment. What has been started goes on by itself.
func cancelDeployment(q *request) (*answer, error) {
	d, err := q.s.deploymentOf(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	was, err := q.s.cancel(q.Context(), d.Operation)
	switch {
	case err != nil:
		return nil, err
	case !was:
		return nil, azure.Errorf(http.StatusConflict, "DeploymentCannotBeCancelled", "The deployment '%s' cannot be cancelled because it is in the state '%s'.", q.id.Name(), d.State)
	}
	return &answer{status: http.StatusNoContent}, nil
}

// exportTemplate returns the template that a deployment was made with.
func exportTemplate(q *request) (*answer, error) {
	if _, err := q.s.deploymentOf(q.Context(), q.id); err != nil {
		return nil, err
	}
	o, err := q.s.orderFor(q.Context(), q.id)
	if err != nil {
		return nil, err
	}
	if o.Evaluated {
		return nil, azure.Errorf(http.StatusConflict, "TemplateNotAvailable", "The template of the deployment '%s' is part of the one that it is nested in. Export that.", q.id.Name())
	}
	return ok(document.NewObject("template", o.Template)), nil
}

func validateDeployment(q *request) (*answer, error) {
	d, order, err := q.readOrder()
	if err != nil {
		return nil, err
	}
	plan, err := q.s.plan(q.Context(), q.caller, q.id, &order)
	if err != nil {
		return nil, err
	}
	d.State, d.Hash, d.Parameters = stateSucceeded, plan.Hash(), plan.Parameters()
	shown := d.show()
	var resources []any
	for _, r := range plan.Resources {
		if !r.Skipped && !r.Existing {
			resources = append(resources, document.NewObject("id", r.ID.String()))
		}
	}
	shown.Object("properties").Set("validatedResources", resources)
	return ok(shown), nil
}
