pragma user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE events (id integer primary key, time text not null default current_timestamp, text text not null);
CREATE TABLE meta (key text primary key, value text not null);
INSERT INTO "meta" VALUES('config','{"seed": 1}');
CREATE TABLE trials (
    number integer primary key,
    proposal text not null,
    status text not null check (status in ('pending', 'done', 'failed')),
    arch text,
    ap real, ap50 real,
    macs integer, flops_mmdet integer, params integer,
    cost_ratio real, score real,
    latency text,
    weights text, model text,
    epochs_total real not null,
    seconds real not null,
    curve text not null,
    error text,
    details text not null
);
INSERT INTO "trials" VALUES(1,'{"actions":[{"kind":"prune_channels","min_width":32,"ratio":0.1,"round_to":8},{"kind":"resize","size":[128,96]}],"note":"parent ranks 1","parent":0}','done','{"anchor_scale":4,"fpn_width":256,"head":{"box_width":1024,"kind":"faster_rcnn","region_proposals":50,"rpn_width":256},"input_size":[128,96],"stages":[{"blocks":[{"group_width":0,"projection":false,"stride":1,"widths":[64,64]},{"group_width":0,"projection":false,"stride":1,"widths":[64,64]}]},{"blocks":[{"group_width":0,"projection":true,"stride":2,"widths":[128,128]},{"group_width":0,"projection":false,"stride":1,"widths":[128,128]}]},{"blocks":[{"group_width":0,"projection":true,"stride":2,"widths":[256,256]},{"group_width":0,"projection":false,"stride":1,"widths":[256,256]}]},{"blocks":[{"group_width":0,"projection":true,"stride":2,"widths":[512,512]},{"group_width":0,"projection":false,"stride":1,"widths":[512,512]}]}],"stem_width":64}',0.31,0.62,1000000000,2000000000,28000000,1.25,1.1,'{"median_ms":20.5,"samples_ms":[20.0,21.0]}','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',6.0,12.5,'[[10,1.5],[20,1.25]]',NULL,'{"device":"cpu"}');
INSERT INTO "trials" VALUES(2,'{"actions":[],"note":"a note","parent":1}','failed',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0.0,0.0,'[]','the loss was not finite','{}');
COMMIT;
