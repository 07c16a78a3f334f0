"""The predictions and labels that the benchmarks of the monitor write."""

from pairs import WINDOW, Traffic, predictions, request_id, split_of, truth

from stream_router.adapters.avro.records import decode_prediction

NOW = 1_795_420_000_000


def decoded(count, **traffic):
    return [(number, decode_prediction(value)) for number, value in predictions(range(count), Traffic(**traffic), NOW)]


def test_a_tenth_is_canarys_and_a_tenth_of_each_lane_is_wrong():
    found = decoded(10_000, rollout=True)
    for lane, size in (("stable", 9_000), ("canary", 1_000)):
        wrong = [prediction.value != truth(number) for number, prediction in found if prediction.lane == lane]
        assert (len(wrong), sum(wrong)) == (size, size // 10)


def test_each_request_has_an_id_of_36_characters():
    ids = {prediction.request_id for _, prediction in decoded(10_000)}
    assert len(ids) == 10_000
    assert {len(name) for name in ids} == {36}
    assert {name for name in ids if name == request_id(7)}


def test_predictions_are_spread_over_the_windows_up_to_now():
    routed = [prediction.routed_at for _, prediction in decoded(100_000, windows=100)]
    assert len({at // WINDOW for at in routed}) == 100
    assert NOW - 100 * WINDOW < min(routed) <= max(routed) < NOW


def test_all_say_under_which_split_they_were_routed():
    for rollout in (False, True):
        split = split_of(Traffic(rollout=rollout))
        found = [prediction for _, prediction in decoded(100, rollout=rollout)]
        assert {(each.epoch, each.digest, each.rollout) for each in found} == {
            (split.epoch, split.digest, split.rollout)
        }
        assert {each.lane for each in found} == ({"stable", "canary"} if rollout else {"stable"})
        assert split.split.canary == split.canary


def test_windows_can_follow_each_other():
    routed = [prediction.routed_at // WINDOW for _, prediction in decoded(10_000, windows=10, each=1_000)]
    assert routed == sorted(routed)
    assert len(set(routed)) == 10
